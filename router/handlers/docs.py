"""GET /openapi.json, /docs and /redoc : what is served, for programs and for people, on both listeners.

Swagger UI and ReDoc come from the package of the extra `docs`, never from another host: a router often stands where
there is none. Of that package the files alone are read; nothing of it is imported.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from router.errors import UnknownRoute
from router.handlers.base import BaseHandler, Context
from router.handlers.openapi import pages
from router.handlers.openapi.document import ANY_FILE

PACKAGE = "fastapi_offline"  # that brings the two UIs, in its folder `static`
LASTING = "max-age=3600"  # seconds: another version of the package is seen within the hour
_LINES = (
    f"Content-Security-Policy: {pages.POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
).encode()
# What ReDoc would load from elsewhere: the picture beside a link to its makers.
_ELSEWHERE = re.compile(rb"https://cdn\.redoc\.ly/[\w./-]+")
_NO_PICTURE = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
_HTML = "text/html; charset=utf-8"
_SCRIPT = "text/javascript; charset=utf-8"
_STYLE = "text/css; charset=utf-8"


class NotInstalled(Exception):
    """The package that brings the UIs is not there."""


@dataclass(frozen=True, slots=True)
class Page:
    """One path of the documentation."""

    label: str  # the route, in metrics and log
    content_type: str
    read: Callable[[], bytes]  # may read a file; raises NotInstalled
    cache: str = "no-store"


def bundled(name: str) -> bytes:
    """Return a file of the package that brings the UIs. Raises NotInstalled."""
    spec = find_spec(PACKAGE)
    for folder in () if spec is None else spec.submodule_search_locations or ():
        try:
            return (Path(folder) / "static" / name).read_bytes()
        except OSError:
            continue
    raise NotInstalled(name)


def without_elsewhere(script: bytes) -> bytes:
    """Return a script that loads nothing from another host."""
    return _ELSEWHERE.sub(_NO_PICTURE, script)


def docs_pages(document: Callable[[], dict[str, Any]]) -> dict[str, Page]:
    """Return the documentation of one listener, by path. `document`: makes it when it is first asked for."""
    made = cache(lambda: orjson.dumps(document()))

    def own(text: str) -> Callable[[], bytes]:
        return text.encode

    def shown(text: str, script: str) -> Callable[[], bytes]:
        def read() -> bytes:
            bundled(script)
            return text.encode()

        return read

    swagger, redoc = "swagger-ui-bundle.js", "redoc.standalone.js"
    return {
        "/openapi.json": Page("/openapi.json", "application/json", made),
        "/docs": Page("/docs", _HTML, shown(pages.SWAGGER, swagger)),
        "/redoc": Page("/redoc", _HTML, shown(pages.REDOC, redoc)),
        "/docs/page.css": Page(ANY_FILE, _STYLE, own(pages.STYLE), LASTING),
        "/docs/swagger.js": Page(ANY_FILE, _SCRIPT, own(pages.SWAGGER_START), LASTING),
        "/docs/redoc.js": Page(ANY_FILE, _SCRIPT, own(pages.REDOC_START), LASTING),
        f"/docs/{swagger}": Page(ANY_FILE, _SCRIPT, lambda: bundled(swagger), LASTING),
        "/docs/swagger-ui.css": Page(ANY_FILE, _STYLE, lambda: bundled("swagger-ui.css"), LASTING),
        f"/docs/{redoc}": Page(ANY_FILE, _SCRIPT, lambda: without_elsewhere(bundled(redoc)), LASTING),
    }


def documented(found: dict[str, Page]) -> list[str]:
    """Return the paths as the document names them: the files of the pages are one."""
    return list(dict.fromkeys(page.label for page in found.values()))


class DocsHandler(BaseHandler):
    """Answers with one of the pages."""

    is_quiet = True

    def initialize(self, context: Context, page: Page) -> None:  # type: ignore[override]
        """`page`: of `docs_pages`."""
        self.route_label = page.label
        self._page = page
        super().initialize(context)

    async def get(self, *args: str) -> None:  # type: ignore[override]  # Tornado awaits what is awaitable
        """Read it beside the loop: some are large, and the document takes a moment to be made."""
        page = self._page
        try:
            body = await asyncio.to_thread(page.read)
        except NotInstalled:
            if page.content_type != _HTML:
                raise UnknownRoute("It is of the extra `docs`, which is not installed.") from None
            self.send(404, _HTML, pages.MISSING.encode(), extra=_LINES)
            return
        self.send(200, page.content_type, body, extra=_LINES, cache=page.cache)

    head = get  # type: ignore[assignment]
