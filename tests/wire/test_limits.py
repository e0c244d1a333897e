"""The defaults that are promised to operators."""

import dataclasses

import pytest

from router.wire.limits import HELD_BYTES, READ_SIZE, ServerLimits


def test_defaults() -> None:
    limits = ServerLimits()

    assert (limits.start_line, limits.header_bytes, limits.header_count) == (8192, 32768, 100)
    assert limits.body == 64 * 1024 * 1024
    assert (limits.headers_timeout, limits.body_timeout) == (10, 60)
    assert (limits.idle_timeout, limits.write_stall_timeout) == (75, 60)
    assert limits.connections is None


def test_limits_do_not_change_under_a_running_server() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServerLimits().body = 1  # type: ignore[misc]


def test_one_connection_holds_little() -> None:
    assert HELD_BYTES + READ_SIZE <= 128 * 1024
