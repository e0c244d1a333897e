"""Rules of router/config/paths.py."""

from pathlib import Path

from router.config.paths import notices
from router.config.schema import Config


def told(**sections: object) -> list[str]:
    return list(notices(Config.model_validate({"backends": [{"url": "http://a:1"}], **sections})))


def test_a_path_at_which_nothing_can_be_made_is_told_before_the_start_fails(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    assert told(logging={"file": str(missing / "log")}) == [
        f"logging.file: there is no folder {missing} here: the router will not start"
    ]
    assert told(logging={"file": str(tmp_path)}) == [
        f"logging.file: {tmp_path} is a folder here: the router will not start"
    ]
    assert told(server={"unix_socket": str(missing / "socket")}) == [
        f"server.unix_socket: there is no folder {missing} here: the router will not start"
    ]


def test_where_something_can_be_made_nothing_is_told(tmp_path: Path) -> None:
    assert told() == []
    assert told(logging={"file": str(tmp_path / "log")}, server={"unix_socket": "socket"}) == []
