"""The names of other proxies: what their documents promised their users works here.

tests/config/others/ has a folder for each document: its environment (`environ`), its .env file (`dotenv`), its YAML
file (`config.yaml`) and its command line (`flags`); `printed` is what --print-config shows of it, beside defaults.
"""

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from router import compat
from router.cli import main
from router.compat import ALIASES, Alias, Source
from router.config.dotenv import parse_dotenv
from router.config.keys import keys
from router.config.schema import ServerConfig

ROOT = Path(__file__).resolve().parents[1]
OTHERS = sorted(path for path in (ROOT / "tests" / "config" / "others").iterdir())


def printed(folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Run --print-config with what a folder gives, in a directory of its own."""
    monkeypatch.chdir(here)
    for row in compat.rows(Source.ENV):
        monkeypatch.delenv(row.name, raising=False)
    if (folder / "environ").exists():
        for name, value in parse_dotenv((folder / "environ").read_text())[0].items():
            monkeypatch.setenv(name, value)
    if (folder / "dotenv").exists():
        shutil.copy(folder / "dotenv", here / ".env")
    if (folder / "config.yaml").exists():
        shutil.copy(folder / "config.yaml", here)
    flags = (folder / "flags").read_text().split() if (folder / "flags").exists() else []
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*flags, "--print-config"])
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize("folder", OTHERS, ids=lambda path: path.name)
def test_what_another_proxy_promised_works(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = printed(folder, tmp_path, monkeypatch)

    said = [line for line in out.splitlines() if not line.endswith("  (default)")]
    notes = err.splitlines()
    assert code == 0, err
    assert "sk-your-key" not in out + err
    assert "\n".join([*said, *notes]) + "\n" == (folder / "printed").read_text()


def test_every_row_stands_for_a_key_that_exists() -> None:
    known = {key.path for key in keys()} | {"backends", None}

    assert {row.path for row in ALIASES} <= known


def test_a_name_has_one_row() -> None:
    names = [(row.source, row.name) for row in ALIASES]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", list(ALIASES), ids=lambda row: row.name)
def test_every_name_is_documented(row: Alias) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    assert f"`{row.name}`" in text or f"`{row.name} " in text
    assert (row.path is None) == bool(row.note)


def test_only_names_of_the_environment_are_generic() -> None:
    generic = {row.name for row in ALIASES if row.generic}

    assert generic == {"HOST", "PORT", "TIMEOUT", "DEBUG", "MAX_RETRIES", "LOG_LEVEL"}
    assert all(row.source is Source.ENV for row in ALIASES if row.generic)


def test_retries_are_one_less_than_attempts() -> None:
    assert compat.attempts_from_retries("5") == "6"
    assert compat.attempts_from_retries("0") == "1"
    for wrong in ("", "-1", "x", "1.5"):
        with pytest.raises(ValueError, match="whole number"):
            compat.attempts_from_retries(wrong)


def test_a_prefix_is_put_before_the_standard_ones() -> None:
    assert compat.prefixes_from_prefix("/llm/") == ["/llm", "/v1", "/api/v1", "/"]
    assert compat.prefixes_from_prefix("/api/v1") == ["/api/v1", "/v1", "/"]
    assert set(ServerConfig().path_prefixes) == set(compat.prefixes_from_prefix("/"))
    assert compat.prefixes_from_prefix("/") == ["/", "/v1", "/api/v1"]


def test_debug_speaks_only_when_it_is_true() -> None:
    assert compat.level_from_debug("1") == "debug"
    for other in ("0", "false", "*", "app:db"):
        with pytest.raises(compat.Unused):
            compat.level_from_debug(other)
