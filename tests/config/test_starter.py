"""The configuration to start from."""

import re
from pathlib import Path

from router.config.load import load
from router.config.schema import Config
from router.config.starter import STARTER


def test_the_starter_is_valid_and_changes_no_default(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(STARTER)

    loaded = load(path)

    assert loaded.config.model_copy(update={"backends": ()}) == Config()
    assert not loaded.notices


def test_what_the_starter_has_in_comments_is_valid_too(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(re.sub(r"^( *)# ( *(?:- )?[a-z_]+:)", r"\1\2", STARTER, flags=re.MULTILINE))

    config = load(path).config

    assert len(config.backends) == 2
    assert config.backends[0].name == "gpu-1"
