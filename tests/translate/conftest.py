"""The real mistral-common for the tests of translation: `make test` installs it (real/install.sh)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.translate.real.tekken import write_tokenizers
from tests.translate.real.workers import NEWEST, Fleet, pinned_versions

SHIPPED = "mistral_common/data/tekken_240911.json"


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All pinned versions of mistral-common; without them the test is skipped (fails where ROUTER_CI is 1)."""
    folder = Path(__file__).resolve().parents[2] / ".venv" / "mistral-common"
    missing = [version for version in pinned_versions() if not (folder / version / SHIPPED).exists()]
    if missing:
        reason = f"mistral-common {', '.join(missing)} is not installed in .venv/mistral-common: `make test` does it"
        if os.environ.get("ROUTER_CI") == "1":
            pytest.fail(f"{reason}, and ROUTER_CI=1 allows no skipping")
        pytest.skip(reason)
    tokenizers = write_tokenizers(tmp_path_factory.mktemp("tokenizers"), folder / NEWEST / SHIPPED)
    with Fleet(folder, tokenizers) as found:
        yield found
