"""What a person sees at /docs and /redoc, in a real Chromium that reaches nothing but the router."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser import NARROW, SIDEWAYS, WIDE, chromium, faults, keep, page_at
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


TEXT = "getComputedStyle(document.querySelector('h1')).color"
BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"
DARK, NONE = "rgb(28, 32, 34)", "rgba(0, 0, 0, 0)"
CALL = "button:has-text('All backends as they are now.')"  # of ReDoc, for operators


@pytest.mark.parametrize(
    ("name", "call", "details"),
    [
        ("docs", "[data-path='/v1/chat/completions']", ".opblock-body .parameters >> nth=0"),
        ("redoc", CALL, "button[aria-expanded=true]"),
    ],
)
def test_the_pages_fit_their_window_wide_and_narrow_and_meet_no_error_light_and_dark(
    name: str, call: str, details: str, tool: Callable[[str], str]
) -> None:
    """With the details of a call unfolded, which are wider than its name."""
    path = tool("chromium")

    async def test() -> None:
        async with chromium(path) as browser, front() as cluster, operator(cluster) as one:
            url = one.url if name == "redoc" else cluster.url
            for size in (WIDE, NARROW):
                for scheme in ("light", "dark"):
                    async with page_at(browser, f"{url}/{name}", size=size, scheme=scheme) as page:
                        await page.locator(call).first.wait_for()
                        assert not await page.evaluate(SIDEWAYS), (size, scheme)
                        await page.locator(call).first.click()
                        await page.locator(details).first.wait_for()
                        assert not await page.evaluate(SIDEWAYS), (size, scheme)
                        assert await page.evaluate(BACKGROUND) == (DARK if scheme == "dark" else NONE)
                        picture = keep(f"{name}-{size[0]}-{scheme}")
                        if picture is not None:
                            await page.screenshot(path=picture)

    run(test, timeout=LIMIT * 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "clients", "operators"),
    [
        ("redoc", "h2:has-text('Continue a conversation')", CALL),
        ("docs", "[data-path='/v1/chat/completions']", "[data-path='/admin/backends']"),
    ],
)
def test_every_text_can_be_read_light_and_dark(
    name: str, clients: str, operators: str, scheme: str, tool: Callable[[str], str]
) -> None:
    """Their themes have no colour for some, too pale a one for others, and some that are meant for paper."""

    async def test() -> None:
        async with chromium(tool("chromium")) as browser, front() as cluster, operator(cluster) as one:
            for url, known in ((cluster.url, clients), (one.url, operators)):
                async with page_at(browser, f"{url}/{name}", scheme=scheme) as page:
                    await page.locator(known).first.click()
                    found = await faults(page)
                    assert [each for each in found if each.startswith(("color-contrast", "landmark", "region"))] == []

    run(test, timeout=LIMIT * 3)


def test_redoc_follows_when_the_colours_change(tool: Callable[[str], str]) -> None:
    async def test() -> None:
        async with (
            chromium(tool("chromium")) as browser,
            front() as cluster,
            operator(cluster) as one,
            page_at(browser, f"{one.url}/redoc", scheme="light") as page,
        ):
            await page.locator(CALL).first.wait_for()
            light = await page.evaluate(TEXT)
            async with page.expect_navigation():
                await page.emulate_media(color_scheme="dark")
            await page.locator(CALL).first.wait_for()
            assert await page.evaluate(BACKGROUND) == DARK
            assert await page.evaluate(TEXT) != light

    run(test, timeout=LIMIT * 3)


@pytest.mark.parametrize(
    "script",
    ["console.error('wrong')", "setTimeout(() => thrown.here)", "fetch('http://elsewhere.example').catch(() => 0)"],
)
def test_a_page_that_meets_an_error_or_asks_another_host_is_noticed(script: str, tool: Callable[[str], str]) -> None:
    path = tool("chromium")

    async def meet(browser: Browser, url: str) -> None:
        async with page_at(browser, url) as page:
            await page.evaluate(script)
            await page.evaluate("new Promise(done => setTimeout(done, 100))")

    async def test() -> None:
        async with chromium(path) as browser, front() as cluster:
            with pytest.raises(AssertionError, match=r"wrong|thrown|elsewhere"):
                await meet(browser, f"{cluster.url}/docs")

    run(test, timeout=LIMIT * 3)


def test_a_page_whose_scripts_fail_is_noticed(tool: Callable[[str], str], tmp_path: Path) -> None:
    """Else the test above could not fail."""
    page = tmp_path / "page.html"
    page.write_text("<script>fetch('http://elsewhere.example/x'); thrown.here;</script>")

    async def test() -> None:
        _, console = await shown(tool("chromium"), page.as_uri(), tmp_path / "profile")
        assert console

    run(test, timeout=LIMIT)
