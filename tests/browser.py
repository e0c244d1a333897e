"""A real Chromium before a router under test: pages as people see them, judged by axe-core.

Chromium comes with the system, axe-core with a package of the `test` extra. Nothing is downloaded.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.async_api import Browser, Page, async_playwright

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
WIDE, NARROW = (1280, 900), (360, 740)
SIDEWAYS = "document.documentElement.scrollWidth > innerWidth"
SLOW = 20_000.0  # ms: generous, for whatever should be a matter of moments


@asynccontextmanager
async def chromium(path: str) -> AsyncIterator[Browser]:
    """Start the browser at `path`; it speaks to nobody but the pages' servers."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-gpu"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *quiet])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def page_at(
    browser: Browser, url: str, *, size: tuple[int, int] = WIDE, scheme: Any = "light", meets: str = "nothing"
) -> AsyncIterator[Page]:
    """Open a page in a window and a profile of its own. At the end: it has met no error, and asked nobody else.

    `meets`: a word of the errors on its console that are meant.
    """
    width, height = size
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(SLOW)
    page = await context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if is_error(said.type, said.text) else None)
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(url)
    yield page
    await context.close()
    origin = url.split("/", 3)[2]
    assert not [each for each in errors if meets not in each], errors
    assert not [each for each in asked if each.split("/", 3)[2] != origin], asked


def keep(name: str) -> Path | None:
    """Return where a picture is kept for people who want to look at it: ROUTER_PICTURES names the folder."""
    folder = os.environ.get("ROUTER_PICTURES")
    return None if folder is None else Path(folder) / f"{name}.png"


def is_error(kind: str, text: str) -> bool:
    """Return whether a line of the console tells of something that went wrong, or was kept from happening."""
    return kind == "error" or "Content Security Policy" in text


async def faults(page: Page) -> list[str]:
    """Return what axe-core finds, each in a line: the rule and some of the elements."""
    await page.evaluate(AXE.read_text())  # by the debugger, which no policy of the page keeps out
    found = await page.evaluate(
        """async rules => {
            const found = await axe.run({runOnly: rules, resultTypes: ["violations"]});
            const told = found.violations.map(each => `${each.id}: ${each.nodes.slice(0, 5).map(node => node.target)}`);
            return [found.passes.length, told];
        }""",
        RULES,
    )
    assert found[0] > 20, "hardly anything was looked at"
    return [str(each) for each in found[1]]
