"""Rules of router/config/exposure.py: keys that everybody can read are told of, whatever file they stand in."""

from pathlib import Path

import pytest

from router.config import load

KEY = "backends:\n  - url: http://a\n    api_key: canary\n"


def told(path: Path, env_file: Path | None = None, **environ: str) -> list[str]:
    loaded = load(path, environ=environ, env_file=None if env_file is None else str(env_file))
    return [notice for notice in loaded.notices if "everybody" in notice]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "router.yaml"


@pytest.mark.row(69)
@pytest.mark.parametrize("text", [KEY, "admin: {token: canary}\nbackends: [{url: http://a}]\n"])
def test_keys_in_a_file_that_everybody_can_read_are_told_of(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o644)
    (notice,) = told(file)
    assert str(file) in notice
    assert "canary" not in notice
    file.chmod(0o640)
    assert told(file) == []


@pytest.mark.row(69)
def test_keys_in_a_dotenv_that_everybody_can_read_are_told_of(file: Path) -> None:
    file.write_text(KEY.replace("canary", '"${KEY}"'))
    file.chmod(0o644)
    for env_file, given in ((file.with_name(".env"), None), (file.with_name("my.env"), file.with_name("my.env"))):
        env_file.write_text("KEY=canary\n")
        env_file.chmod(0o644)
        (notice,) = told(file, given)
        assert env_file.name in notice
        env_file.chmod(0o600)
        assert told(file, given) == []
        env_file.unlink()


def test_files_without_keys_may_be_read_by_everybody(file: Path) -> None:
    file.write_text(KEY.replace("canary", '"${KEY}"'))
    file.chmod(0o644)
    assert told(file, KEY="canary") == []
    file.write_text("backends: [{url: http://a}]\n")
    assert told(file) == []
