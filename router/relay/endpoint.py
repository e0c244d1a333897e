"""Where and how one backend is reached: what the relay needs of it beyond what the registry decides on."""

from dataclasses import dataclass, field

from router.relay.headers import Forwarding, ToBackend
from router.relay.route import Route
from router.wire.client import Origin


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of one backend and the lines that every request to it carries."""

    origin: Origin
    base_path: str = ""  # what stands before every path, as where a gateway serves several backends; no end slash
    api_prefix: str = "/v1"  # where it serves the OpenAI API; no end slash
    api_key: str | None = field(default=None, repr=False)
    to_backend: ToBackend = field(
        default_factory=lambda: ToBackend(Forwarding()), repr=False
    )  # what of a request it sees

    def target(self, route: Route, rest: str) -> str:
        """Return the request target for `rest`, the path after the route's own prefix."""
        return f"{self.base_path}{self.api_prefix if route.under_v1 else ''}/{rest}"

    def key_lines(self, *, named_events: bool) -> bytes:
        """Return the serialised credentials of the backend, b"" where it wants none.

        The Messages API of other servers reads `x-api-key`; vLLM reads `Authorization` there too, so both are sent.
        """
        if self.api_key is None:
            return b""
        lines = f"Authorization: Bearer {self.api_key}\r\n"
        return (lines + (f"x-api-key: {self.api_key}\r\n" if named_events else "")).encode("latin-1")
