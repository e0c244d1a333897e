"""Rules of router/handlers/docs.py."""

import json

import pytest

from router.handlers import docs
from router.handlers.docs import NotInstalled, bundled, docs_pages, documented, without_elsewhere
from router.handlers.openapi.pages import POLICY
from tests.front import front, run
from tests.operating import changed, operator

PATHS = list(docs_pages(dict))


def test_the_pages_and_all_that_they_are_made_of_are_served_on_both_listeners() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            for path in PATHS:
                for answer in (await cluster.ask(path), await one.ask("GET", path)):
                    assert answer.code == 200, path
                    assert answer.headers["Content-Security-Policy"] == POLICY
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    assert len(answer.body) > 200
                    assert int(answer.headers["Content-Length"]) == len(answer.body)
            assert (await cluster.ask("/docs/swagger-ui-bundle.js")).headers["Cache-Control"] == docs.LASTING
            assert (await cluster.ask("/openapi.json")).headers["Cache-Control"] == "no-store"
            head = await cluster.ask("/docs", method="HEAD")
            assert (head.code, head.body) == (200, b"")

    run(test)


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/nothing.js", "/docs/../setup.py", "/docs/%2e%2e/x", "/redoc/", "/docs/LICENSE"]
)
def test_other_files_are_not_served(path: str) -> None:
    async def test() -> None:
        async with front() as cluster:
            assert (await cluster.ask(path)).code == 404

    run(test)


def test_each_listener_tells_of_its_own_routes() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            public = json.loads((await cluster.ask("/openapi.json")).body)["paths"]
            admin = json.loads((await one.ask("GET", "/openapi.json")).body)["paths"]
            assert "/v1/chat/completions" in public
            assert "/v1/chat/completions" not in admin
            assert "/admin/backends" in admin
            assert not [path for path in public if path.startswith("/admin")]

    run(test)


def test_it_can_be_switched_off_and_on_while_the_router_runs() -> None:
    async def test() -> None:
        async with front(config={"docs": {"enabled": False}}) as cluster, operator(cluster) as one:
            for path in PATHS:
                assert (await cluster.ask(path)).code == (await one.ask("GET", path)).code == 404
            cluster.app.apply(changed(cluster.app.config, docs={"enabled": True}))
            assert (await cluster.ask("/docs")).code == (await one.ask("GET", "/docs")).code == 200

    run(test)


def test_the_document_follows_the_configuration() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert "/load" not in json.loads((await cluster.ask("/openapi.json")).body)["paths"]
            server = {"extra_routes": [{"method": "GET", "path": "/load"}], "reveal_backend": True}
            cluster.app.apply(changed(cluster.app.config, server=server))
            assert "/load" in json.loads((await cluster.ask("/openapi.json")).body)["paths"]

    run(test)


def test_a_configured_route_goes_before_a_page_of_the_same_path() -> None:
    """Who passes vLLM's own page on goes on getting it."""

    async def test() -> None:
        config = {"server": {"extra_routes": [{"method": "GET", "path": "/docs"}]}}
        async with front(config=config) as cluster:
            assert (await cluster.ask("/docs")).code == 404  # says the simulated backend, which has none
            assert (await cluster.ask("/docs", b"{}")).code == 405
            item = json.loads((await cluster.ask("/openapi.json")).body)["paths"]["/docs"]
            assert item["get"]["tags"] == ["Further routes"]

    run(test)


def test_a_token_of_operators_is_not_asked_for() -> None:
    """A browser cannot send it when it loads a page; what the page then does asks for it."""

    async def test() -> None:
        async with front(config={"admin": {"token": "secret"}}) as cluster, operator(cluster) as one:
            assert (await one.ask("GET", "/docs")).code == 200
            assert (await one.ask("GET", "/admin/backends")).code == 401

    run(test)


def test_pages_whose_files_are_missing_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "PACKAGE", "no_such_package")

    async def test() -> None:
        async with front() as cluster:
            for path in ("/docs", "/redoc"):
                answer = await cluster.ask(path)
                assert answer.code == 404
                assert answer.headers["Content-Type"].startswith("text/html")
                assert b"pip install '.[docs]'" in answer.body
            answer = await cluster.ask("/docs/swagger-ui-bundle.js")
            assert answer.code == 404
            assert json.loads(answer.body)["error"]["code"] == "unknown_url"
            assert (await cluster.ask("/openapi.json")).code == 200

    run(test)


def test_a_file_that_the_package_has_not_is_not_installed() -> None:
    bundled("swagger-ui.css")

    with pytest.raises(NotInstalled):
        bundled("no-such-file")


def test_what_redoc_would_load_from_elsewhere_is_taken_out() -> None:
    script = bundled("redoc.standalone.js")
    assert b"https://cdn.redoc.ly/redoc/logo-mini.svg" in script, "it loads nothing any more: without_elsewhere can go"

    assert b"cdn.redoc" not in without_elsewhere(script)


def test_the_files_of_the_pages_are_one_path_of_the_document() -> None:
    assert documented(docs_pages(dict)) == ["/openapi.json", "/docs", "/redoc", "/docs/{file}"]
