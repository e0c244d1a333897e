"""Rules of router/relay/outside.py."""

from router.relay.outside import Timeouts


def test_by_default_only_the_whole_has_no_limit() -> None:
    """Every wait has a limit; what is not streamed may take as long as a whole generation."""
    timeouts = Timeouts()
    assert None not in (timeouts.connect, timeouts.first_byte, timeouts.unstreamed, timeouts.idle)
    assert (timeouts.unstreamed or 0) > (timeouts.first_byte or 0)
