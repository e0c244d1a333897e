"""The `traceparent` header of the W3C recommendation "Trace Context", as far as metrics need it. Pure."""

import re

# Section 3.2: version, trace id, parent id and flags in lower case; a later version may have more behind them.
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{0,200})?")


def trace_id_of(header: str) -> str | None:
    """Return the trace's id, 32 hexadecimal digits; None where the header is not one that the recommendation allows."""
    found = _FORM.fullmatch(header)
    if found is None or (found[1] == "00" and found[3] is not None):
        return None
    return found[2]
