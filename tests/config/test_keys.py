"""The keys of the schema, and that the documents name them all."""

import re
from pathlib import Path

import pytest

from router.config.document import parse_document
from router.config.keys import Key, keys, names_at, suggestion
from router.config.load import load
from router.config.schema import BackendConfig, Config
from router.config.tree import find

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "conf" / "router.yaml"
ALL = list(keys())
EXAMPLES = {"backends.*.url", "backends.*.name"}  # without a default of their own
# Shown in a comment: empty lists, and a name that would not change with the url.
COMMENTED = {
    *("server.extra_routes.*.method", "server.extra_routes.*.path", "backends.*.name"),
    *("middlewares.*.enabled", "middlewares.*.type"),
}


def named(key: Key) -> str:
    return key.path


@pytest.mark.parametrize("key", ALL, ids=named)
def test_the_shipped_file_has_every_key(key: Key) -> None:
    text = SHIPPED.read_text()
    if key.path in COMMENTED:
        assert re.search(rf"{key.path.rsplit('.', 1)[-1]}: ", text)
        return
    path = tuple(0 if part == "*" else part for part in key.path.split("."))

    node = find(parse_document(text, "router.yaml"), path)

    assert node is not None, f"{key.path} is missing"
    line = text.splitlines()[(node.line or 1) - 1]
    assert "#" in line or key.path.split(".")[0] in ("breaker", "server", "health", "metrics", "routing"), "no reason"


def test_the_values_of_the_shipped_file_are_the_defaults() -> None:
    config = load(SHIPPED, environ={}).config

    assert config.model_copy(update={"backends": ()}) == Config()
    (backend,) = config.backends
    assert backend == BackendConfig.model_validate({"url": "http://127.0.0.1:8000"})


@pytest.mark.parametrize("key", ALL, ids=named)
def test_the_documentation_names_every_key_with_its_default(key: Key) -> None:
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(f"| `{key.path}` |")]

    assert len(rows) == 1
    default = rows[0].split("|")[2].strip()
    special = {
        "backends.*.url": "must be given",
        "backends.*.name": "host:port",
        "server.extra_routes.*.path": "must be given",
        "middlewares.*.type": "must be given",
    }
    assert default == special.get(key.path, key.shown)
    assert len(rows[0].split("|")[3].strip()) > 3, "no meaning"


def test_the_documentation_names_no_key_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    sections = "|".join(Config.model_fields)
    lists = {"server.extra_routes"}

    written = set(re.findall(rf"^\| `((?:{sections})\.[a-z_.*]+)` \|", text, re.MULTILINE))

    assert written - {key.path for key in ALL} <= lists


def test_names_follow_the_sections() -> None:
    assert names_at(("backends", 3, "tls")) == ["verify", "ca_file", "server_name", "cert_file", "key_file"]
    assert "backends" in names_at(())
    assert names_at(("nowhere",)) == []
    assert names_at(("server", "port", "x")) == []


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (("server", "prot"), "did you mean port?"),
        (("backend",), "did you mean backends?"),
        (("timeouts", "first-byte"), "did you mean first_byte?"),
        (("port",), "did you mean server.port?"),
        (("server", "first_byte"), "did you mean timeouts.first_byte?"),
        (("weight",), "did you mean backends.0.weight?"),
        (("server", "retry"), "did you mean retry?"),
        (("backends", 0, "ulr"), "did you mean url?"),
        (("routing", "zzz"), "routing may have: policy"),
        (("nowhere", "x"), None),
    ],
)
def test_a_mistyped_key_gets_a_suggestion(path: tuple[str | int, ...], hint: str | None) -> None:
    assert suggestion(path) == hint
