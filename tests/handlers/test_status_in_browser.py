"""The status page in a real Chromium: what people see, press and hear, and what nobody can make it do."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tornado.web
from playwright.async_api import Browser, Page

from router.simulator.settings import Settings
from router.wire.server import HTTPServer, bind_sockets
from tests.browser import NARROW, SIDEWAYS, WIDE, chromium, faults, keep, page_at
from tests.front import Front, broken, front, run, until
from tests.operating import Operator, operator

Tool = Callable[[str], str]
Test = Callable[[Browser, Front, Operator], Awaitable[None]]
MARKUP = "<img src=x onerror=document.title='taken'><b>bold</b>"
MANY = [f"http://127.0.0.1:{port}" for port in range(20_000, 20_500)]


def with_page(tool: Tool, test: Test, *settings: Settings, **more: Any) -> None:
    """Run a test with a browser before a router and its admin listener."""
    path = tool("chromium")

    async def whole() -> None:
        async with chromium(path) as browser, front(*settings, **more) as cluster, operator(cluster) as one:
            await test(browser, cluster, one)

    run(whole, timeout=120.0)


async def shown(page: Page, text: str, *, at: str) -> None:
    """Wait until an element shows a text."""
    await page.locator(at).filter(has_text=text).first.wait_for()


async def is_drained(cluster: Front, name: str, wanted: bool = True) -> None:
    backend = cluster.app.registry.find(name)
    assert backend is not None
    await until(lambda: backend.drained is wanted)


class Blank(tornado.web.RequestHandler):
    """A page of somebody else."""

    def get(self) -> None:
        self.write("<!doctype html><title>elsewhere</title>")


def test_axe_finds_nothing_wide_and_narrow_light_and_dark(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        for _ in range(5):
            assert (await cluster.chat(stream=True)).code == 200
        for backend in cluster.backends:
            broken(backend, status=500)
        assert (await cluster.chat()).code >= 500
        await one.fields("POST", f"/admin/backends/{cluster.backends[0].url.removeprefix('http://')}/drain")
        for size in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                async with page_at(browser, f"{one.url}/status", size=size, scheme=scheme) as page:
                    await shown(page, "asked, since", at="#rows tr")
                    await shown(page, "drain serving → drained", at="#turn-rows tr")
                    await shown(page, "backend error", at="#incident-rows tr")
                    await page.click("summary")
                    await page.uncheck("#config-set")
                    await page.fill("#config-find", "server.p")
                    await shown(page, "server.port", at="#config-rows th")
                    await page.focus("#find")
                    assert await faults(page) == [], (size, scheme)
                    assert not await page.evaluate(SIDEWAYS), "no need to move it sideways"
                    picture = keep(f"status-{size[0]}-{scheme}")
                    if picture is not None:
                        await page.screenshot(path=picture, full_page=True)

    with_page(tool, test, Settings(), Settings())


def test_why_a_backend_is_out_is_told_also_where_it_was_never_up_and_long_ago(tool: Tool) -> None:
    """Of the changes that the page lists there are the last 50, of whichever backends."""

    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, "refused, since", at="#rows tr")
            await shown(page, "health unknown → down", at="#turn-rows tr")
        for _ in range(30):
            for order in ("drain", "undrain"):
                await one.fields("POST", f"/admin/backends/well/{order}")
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, "refused", at="#rows tr")
            assert "since" not in await page.locator("#rows tr", has_text="gone").inner_text()
            assert "unknown" not in await page.locator("#turn-rows").inner_text()

    names = [{"name": "well"}, {"name": "gone"}]
    urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    with_page(tool, test, urls=urls, ready=False, config={"backend_options": names})


REASONS = """() => {
    const turn = (kind, cause) => ({ backend: "b", kind, cause, at: 0 });
    state.turns = [turn("breaker", "trial"), turn("health", "refused"), turn("drain", "asked")];
    const each = { name: "b", health: "up", breaker: "closed", drained: false, cause: null };
    return [
        reason({ ...each, breaker: "half_open", cause: "server_error" }),
        reason({ ...each, health: "down", cause: "bad_status" }),
        reason({ ...each, drained: true, health: "down", cause: "refused" }),
        reason(each),
    ].map((text) => text.split(", since ")[0]);
}"""


def test_why_a_backend_is_out_is_what_is_told_of_it_now_and_not_its_last_change(tool: Tool) -> None:
    """A trial is no reason to be left alone, and a server that refused may load by now."""

    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, "up", at="#rows tr")
            assert await page.evaluate(REASONS) == ["server error", "bad status", "asked", ""]

    with_page(tool, test)


def test_a_backend_is_drained_and_undrained_by_keyboard_and_it_is_said(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        name = sorted(each.url.removeprefix("http://") for each in cluster.backends)[0]
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, name, at="#rows tr")
            label = ""
            for _ in range(40):
                await page.keyboard.press("Tab")
                label = await page.evaluate("document.activeElement.getAttribute('aria-label') || ''")
                if label:
                    break
            assert label == f"Drain {name}", "the first button that Tab reaches in the table"
            await page.keyboard.press("Enter")
            await is_drained(cluster, name)
            await shown(page, "drained", at="#rows tr")
            await shown(page, name, at="#said[role=status]")
            await page.locator(":focus[aria-label^=Undrain]").wait_for()
            await page.keyboard.press("Space")
            await is_drained(cluster, name, wanted=False)

    with_page(tool, test, Settings(), Settings())


def test_the_figures_live_and_stand_still_while_they_are_paused(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, "Live.", at="#link")
            assert (await cluster.chat()).code == 200
            await shown(page, "1", at="#rows td[data-name=Tries]")
            await page.locator(".plot[aria-label*='highest 0.5/s']").wait_for()  # one in two seconds
            await page.click("#pause")
            await shown(page, "Paused.", at="#link")
            await until(lambda: len(cluster.app.admin_delegate._watch) == 0)
            assert (await cluster.chat()).code == 200
            await page.click("#pause")
            await shown(page, "2", at="#rows td[data-name=Tries]")

    with_page(tool, test)


@pytest.mark.parametrize("enabled", [True, False])
def test_it_tells_how_many_sessions_are_known_or_that_they_are_off(tool: Tool, enabled: bool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{one.url}/status") as page:
            figure = "#now div:has(dt:text-is('{}')) dd"
            await shown(page, "0 of 10000" if enabled else "off", at=figure.format("Sessions"))
            await shown(page, "–", at=figure.format("Kept at their backend"))
            if enabled:
                for _ in range(3):
                    assert (await cluster.chat()).code == 200
                await shown(page, "1 of 10000", at=figure.format("Sessions"))
                await shown(page, "100 %", at=figure.format("Kept at their backend"))
            assert await faults(page) == []
            picture = keep(f"status-sessions-{enabled}")
            if picture is not None:
                await page.screenshot(path=picture, full_page=True)

    with_page(tool, test, config={"sessions": {"enabled": enabled}})


def test_a_page_that_lost_its_router_says_so_and_comes_back(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{one.url}/status") as page:
            await shown(page, "Live.", at="#link")
            page.set_default_timeout(30_000)
            for watcher in list(cluster.app.admin_delegate._watch._watchers):
                watcher.end()
            await shown(page, "Not connected", at="#link.lost")
            await shown(page, "Live.", at="#link")

    with_page(tool, test)


def test_what_others_have_written_is_shown_as_text(tool: Tool) -> None:
    """Models are named by backends, ids by clients, values by whoever writes the configuration."""
    config = {"server": {"cors": {"allow_origins": [MARKUP]}}, "backend_options": [{"models": [MARKUP]}]}

    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        broken(cluster.backends[0], status=500)
        assert (await cluster.chat(model=MARKUP)).code == 500
        async with page_at(browser, f"{one.url}/status", meets="TrustedHTML") as page:
            await shown(page, MARKUP, at="#rows th")
            await shown(page, MARKUP, at="#incident-rows td")
            await page.click("summary")
            await page.uncheck("#config-set")
            await shown(page, MARKUP, at="#config-rows td")
            assert await page.locator("main img, main b").count() == 0
            assert await page.title() == "devstral-router: status"
            with pytest.raises(Exception, match="TrustedHTML"):  # not even by a mistake of ours
                await page.evaluate("document.body.innerHTML = '<b>x</b>'")

    with_page(tool, test, Settings(models=(MARKUP,)), config=config)


def test_500_backends_are_found_ordered_and_drained(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        backends = cluster.app.registry.backends
        await until(lambda: all(backend.is_down for backend in backends), timeout=60)
        for size in (WIDE, NARROW):
            async with page_at(browser, f"{one.url}/status", size=size) as page:
                await shown(page, "500 backends", at="#count")
                first = "#rows tr:not([hidden]) th > span > span:first-child"
                assert await page.locator(first).first.inner_text() == "127.0.0.1:20000"
                await page.click("#heads button >> text=Backend")  # once more: the other way round
                assert await page.locator(first).first.inner_text() == "127.0.0.1:20499"
                assert await page.get_attribute("#heads th", "aria-sort") == "descending"
                await page.fill("#find", "20321")
                await shown(page, "1 of 500 backends", at="#count")
                assert await page.locator(first).all_inner_texts() == ["127.0.0.1:20321"]
                assert not await page.evaluate(SIDEWAYS)
                word = "Drain" if size is WIDE else "Undrain"
                await page.click(f"text={word} >> visible=true")
                await is_drained(cluster, "127.0.0.1:20321", wanted=size is WIDE)
                await page.focus("#which")
                await page.select_option("#which", "drained")
                await shown(page, "1 of 500 backends" if size is WIDE else "0 of 500 backends", at="#count")

    quiet = {"health": {"interval": "60s"}}
    with_page(tool, test, urls=MANY, config=quiet, ready=False)


def test_with_a_token_the_page_asks_for_it(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        async with page_at(browser, f"{one.url}/status", meets="401 (Unauthorized)") as page:
            await page.fill("#token", "wrong")
            await page.keyboard.press("Enter")
            await shown(page, "The token is wrong.", at="#link")
            assert await faults(page) == []
            await page.fill("#token", "hush")
            await page.keyboard.press("Enter")
            await shown(page, name, at="#rows tr")
            await page.click(f"[aria-label='Drain {name}']")
            await is_drained(cluster, name)
            await page.reload()
            await shown(page, "drained", at="#rows tr")

    with_page(tool, test, config={"admin": {"token": "hush"}})


def test_clients_get_a_page_without_buttons_and_configuration(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        async with page_at(browser, f"{cluster.url}/status") as page:
            await shown(page, cluster.backends[0].url.removeprefix("http://"), at="#rows tr")
            assert await page.locator("#rows button").count() == 0
            assert not await page.is_visible("#config")
            assert "http://" not in await page.inner_text("#rows")
            assert await faults(page) == []

    with_page(tool, test, config={"server": {"public_status": True}})


# What such a page can try: to read, to take a place, to press by script and by form, and to show the page in its own.
TRY_ALL = """async ([base, name]) => {
    const attempts = [
        ["GET", "/config", {}], ["GET", "/status/events", {mode: "no-cors"}],
        ...["application/json", "text/plain"].map((type) =>
            ["POST", `/admin/backends/${name}/drain`, {headers: {"Content-Type": type}, body: "{}"}]),
        ["POST", `/admin/backends/${name}/drain`, {mode: "no-cors", body: "{}"}],
    ];
    const results = [];
    for (const [method, path, more] of attempts) {
        try {
            const answer = await fetch(base + path, {method, ...more});
            results.push(await answer.text());
        } catch (error) { results.push("refused"); }
    }
    const form = document.createElement("form");
    form.method = "post"; form.enctype = "text/plain"; form.target = "frame";
    form.action = `${base}/admin/backends/${name}/drain`;
    const frame = document.createElement("iframe");
    frame.name = "frame";
    document.body.append(frame, form);
    const ended = new Promise((done) => frame.addEventListener("load", done));
    form.submit();
    await ended;
    const framed = document.createElement("iframe");
    const loaded = new Promise((done) => framed.addEventListener("load", done));
    framed.src = `${base}/status`;
    document.body.append(framed);
    await loaded;
    return results;
}"""


def test_a_page_of_another_origin_can_neither_press_nor_read_nor_frame(tool: Tool) -> None:
    async def test(browser: Browser, cluster: Front, one: Operator) -> None:
        name = cluster.backends[0].url.removeprefix("http://")
        evil = HTTPServer(tornado.web.Application([("/", Blank)]))
        (sock,) = bind_sockets("127.0.0.1", 0)
        evil.add_socket(sock)
        context = await browser.new_context()
        page = await context.new_page()
        for host in ("localhost", "127.0.0.1"):  # of another site, and of another port alone
            await page.goto(f"http://{host}:{sock.getsockname()[1]}/")
            tried = await page.evaluate(TRY_ALL, [one.url, name])
            assert set(tried) <= {"refused", ""}, tried
            frames = [await frame.content() for frame in page.frames[1:]]
            assert len(frames) == 2
            assert not [content for content in frames if "Backends" in content]
            backend = cluster.app.registry.find(name)
            assert backend is not None
            assert not backend.drained
            assert len(cluster.app.admin_delegate._watch) == 0
        await context.close()
        evil.stop()
        await evil.close_all_connections()

    with_page(tool, test)
