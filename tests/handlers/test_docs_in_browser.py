"""What a person sees at /docs and /redoc, in a real Chromium that reaches nothing but the router."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.front import front, run
from tests.operating import operator

LIMIT = 60.0  # seconds
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    *("--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom"),
)


async def shown(browser: str, url: str, profile: Path) -> tuple[str, list[str]]:
    """Return a page as it stands when its scripts have run, and what it wrote to the console."""
    process = await asyncio.create_subprocess_exec(
        *(browser, *OPTIONS, f"--user-data-dir={profile}", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        if process.returncode is None:
            process.kill()
    return output.decode(), [line for line in errors.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize(("page", "path"), [("docs", "/v1/chat/completions"), ("redoc", "/admin/backends")])
def test_the_pages_show_the_routes_and_ask_nothing_of_other_hosts(
    page: str, path: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The policy would write to the console whatever it has refused."""
    browser = tool("chromium")

    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            url = one.url if path.startswith("/admin") else cluster.url
            dom, console = await shown(browser, f"{url}/{page}", tmp_path / "profile")
            text = re.sub(r"<[^>]*>|\u200b", "", dom)
            assert path in text
            assert "DELETE" in text.upper()
            assert not console

    run(test, timeout=LIMIT * 3)


def test_a_page_whose_scripts_fail_is_noticed(tool: Callable[[str], str], tmp_path: Path) -> None:
    """Else the test above could not fail."""
    page = tmp_path / "page.html"
    page.write_text("<script>fetch('http://elsewhere.example/x'); thrown.here;</script>")

    async def test() -> None:
        _, console = await shown(tool("chromium"), page.as_uri(), tmp_path / "profile")
        assert console

    run(test, timeout=LIMIT)
