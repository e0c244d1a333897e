"""Rules of router/handlers/openapi/own.py: its schemas hold for what the router says of itself, on both listeners."""

import json
from typing import Any

from tests.front import front, run
from tests.handlers.openapi.fitting import faults
from tests.operating import operator


def pages(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (path, status, name of the schema) of each page that answers a GET with JSON."""
    found = []
    for path, item in document["paths"].items():
        responses = item.get("get", {}).get("responses", {})
        for status in ("200", "503"):
            schema = responses.get(status, {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" in schema and "responses" not in path:
                found.append((path, status, schema["$ref"].rpartition("/")[2]))
    return found


def test_what_the_router_says_of_itself_fits() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            name = next(iter(await one.backends()))
            seen = 0
            for door in (cluster.ask, lambda path: one.ask("GET", path)):
                document = json.loads((await door("/openapi.json")).body)
                for path, status, schema in pages(document):
                    asked = path.replace("{id}", "simulated-model").replace("{name}", name)
                    got = await door(asked)
                    if str(got.code) == status:
                        seen += 1
                        assert not faults(schema, json.loads(got.body), document), path
            assert seen == 16  # of 9 and 7

    run(test)


def test_an_unhealthy_cluster_fits_too() -> None:
    async def test() -> None:
        async with front(urls=["http://127.0.0.1:1"], ready=False) as cluster:
            document = json.loads((await cluster.ask("/openapi.json")).body)
            for path, status, schema in pages(document):
                if status == "503":
                    got = await cluster.ask(path)
                    assert got.code == 503
                    assert not faults(schema, json.loads(got.body), document)
                    assert faults(schema, {"status": "well"}, document)

    run(test)


def test_what_operators_are_told_of_orders_fits() -> None:
    async def test() -> None:
        async with front() as cluster, operator(cluster) as one:
            document = json.loads((await one.ask("GET", "/openapi.json")).body)
            name = next(iter(await one.backends()))
            for order in ("drain", "undrain"):
                done = await one.fields("POST", f"/admin/backends/{name}/{order}", {})
                assert not faults("Done", done, document)
            refused = await one.ask("POST", "/admin/backends", {"url": "http://127.0.0.1:1", "nope": 1})
            assert refused.code == 422
            assert not faults("Error", json.loads(refused.body), document)

    run(test)
