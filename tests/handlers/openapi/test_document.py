"""Rules of router/handlers/openapi/document.py: what is served is in the document, and what is in it is served."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from tornado.httpclient import HTTPResponse

from router.handlers.openapi.document import ALSO_AT
from tests.front import front, run
from tests.handlers.openapi.fitting import admin, public
from tests.handlers.test_routes import VLLM
from tests.operating import operator

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
FURTHER = [{"method": "GET", "path": "/load"}, {"method": "PUT", "path": "/v1/things"}]
# That the router answers itself, apart from the table of relayed routes.
OWN = {
    *("/", "/health", "/ping", "/livez", "/readyz", "/version", "/internal/metrics"),
    *("/status", "/status/page.css", "/status/page.js", "/status/icon.svg", "/status/events"),
    *("/v1/models", "/models", "/api/v1/models", "/openapi.json", "/docs", "/redoc"),
}
ADMIN = {
    *("/config", "/status", "/status/page.css", "/status/page.js", "/status/icon.svg", "/status/events"),
    *("/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/redoc"),
    *("/admin/backends", "/admin/reload", "/admin/config", "/admin/backends/{name}"),
    *("/admin/backends/{name}/drain", "/admin/backends/{name}/undrain", "/docs/{file}"),
}
Ask = Callable[..., Awaitable[HTTPResponse]]


@pytest.mark.parametrize(
    "document",
    [public(), public(extra=(("GET", "/load"), ("POST", "/v1/a-b"))), admin()],
    ids=["public", "more", "admin"],
)
def test_a_validator_of_openapi_finds_no_fault(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV31SpecValidator)


def test_the_validator_finds_faults() -> None:
    document = public()
    document["paths"]["/health"] = {"get": {"responses": {"200": {}}}}

    with pytest.raises(Exception, match="description"):
        validate(document, cls=OpenAPIV31SpecValidator)


def named(document: dict[str, Any]) -> dict[str, set[str]]:
    """Return the methods of each path and of its other names."""
    found: dict[str, set[str]] = {}
    for path, item in document["paths"].items():
        for each in (path, *item.get(ALSO_AT, ())):
            found[each] = {key.upper() for key in item} & METHODS
    return found


async def check(ask: Ask, paths: dict[str, set[str]], backend: str = "nobody") -> None:
    """Hold that each path takes the methods that are told of it, and no others."""
    for path, methods in paths.items():
        for key, value in (("{id}", "resp_1"), ("{name}", backend), ("{file}", "page.css")):
            path = path.replace(key, value)
        told = await ask("OPTIONS", path)
        allowed = set(told.headers["Allow"].split(", "))
        assert allowed - {"OPTIONS", "HEAD"} == methods, path
        assert "HEAD" not in allowed or "GET" in methods
        for method in METHODS - methods:
            assert (await ask(method, path)).code == 405, (method, path)


def test_every_path_of_clients_is_in_the_document_with_its_methods_and_the_other_way_round() -> None:
    async def test() -> None:
        config = {"server": {"extra_routes": FURTHER, "public_status": True}, "metrics": {"path": "/internal/metrics"}}
        async with front(config=config) as cluster:
            paths = named(json.loads((await cluster.ask("/openapi.json")).body))
            await check(lambda method, path: cluster.ask(path, method=method), paths)
            served = cluster.app.delegate.served() | {each["path"] for each in FURTHER} | OWN | set(VLLM)
            assert {path for path in paths if "{" not in path} == {
                path for path in served if not path.startswith("/docs/")
            }
            assert {path for path in paths if "{" in path} == {
                f"{prefix}/{rest}"
                for prefix in ("/v1", "/api/v1", "")
                for rest in ("models/{id}", "responses/{id}", "responses/{id}/cancel")
            } | {"/docs/{file}"}

    run(test)


def test_every_path_of_operators_is_in_the_document_with_its_methods_and_the_other_way_round() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            paths = named(json.loads((await one.ask("GET", "/openapi.json")).body))
            await check(lambda method, path: one.ask(method, path), paths, next(iter(await one.backends())))
            assert set(paths) == ADMIN
            served = cluster.app.admin_delegate.served()
            assert served - ADMIN == {path for path in served if path.startswith("/docs/")}

    run(test)


def test_a_page_that_is_not_for_clients_is_not_told_of() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert "/status" not in json.loads((await cluster.ask("/openapi.json")).body)["paths"]

    run(test)


def test_a_deadline_is_told_by_the_configured_name() -> None:
    async def test() -> None:
        async with front(config={"server": {"deadline_header": "X-Patience"}}) as cluster:
            document = json.loads((await cluster.ask("/openapi.json")).body)
            assert document["components"]["parameters"]["Deadline"]["name"] == "X-Patience"

    run(test)


def test_an_error_that_stands_at_every_route_is_one_component() -> None:
    responses = public()["paths"]["/v1/chat/completions"]["post"]["responses"]

    assert responses["503"] == {"$ref": "#/components/responses/Unavailable"}
    assert {"400", "404", "405", "413", "415", "429", "4XX", "500", "502", "503", "504"} <= set(responses)


def test_documents_tell_nothing_of_backends_or_secrets() -> None:
    async def test() -> None:
        config = {
            "backend_options": [{"name": "canary-name", "api_key": "canary-key"}],
            "admin": {"token": "canary-token"},
        }
        async with front(config=config) as cluster, operator(cluster) as one:
            for answer in (await cluster.ask("/openapi.json"), await one.ask("GET", "/openapi.json")):
                assert answer.code == 200
                assert b"canary" not in answer.body
                assert b"127.0.0.1" not in answer.body

    run(test)
