"""Which pages of other origins may call us: the CORS protocol of the Fetch standard. Pure. vLLM allows all."""

from dataclasses import dataclass

# Header lines of ours that a page may read.
_EXPOSED = "X-Request-Id, X-Router-Backend, X-Router-Attempts, X-Router-Session, X-Router-Translation, Retry-After"


@dataclass(frozen=True, slots=True)
class Cors:
    """The configured rules; see `server.cors` in docs/configuration.md."""

    enabled: bool = True
    allow_origins: tuple[str, ...] = ("*",)
    allow_methods: tuple[str, ...] = ("*",)
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    max_age: int = 600  # seconds for which a browser may remember a preflight

    def lines(self, origin: str) -> bytes:
        """Return the serialised lines for an answer to `origin`; b"" where it is not allowed."""
        if not self.enabled:
            return b""
        anyone = "*" in self.allow_origins
        if not anyone and origin not in self.allow_origins:
            return b"Vary: Origin\r\n"
        # With credentials the browser does not take "*".
        allowed = "*" if anyone and not self.allow_credentials else origin
        text = f"Access-Control-Allow-Origin: {allowed}\r\nAccess-Control-Expose-Headers: {_EXPOSED}\r\n"
        if self.allow_credentials:
            text += "Access-Control-Allow-Credentials: true\r\n"
        return (text if allowed == "*" else text + "Vary: Origin\r\n").encode("latin-1", "replace")

    def preflight_lines(self, wanted_headers: str | None) -> bytes:
        """Return the further lines of a preflight's answer. `wanted_headers`: what the browser asks to send."""
        if not self.enabled:
            return b""
        methods = "GET, POST, DELETE, HEAD, OPTIONS" if "*" in self.allow_methods else ", ".join(self.allow_methods)
        headers = ", ".join(self.allow_headers)
        if "*" in self.allow_headers and wanted_headers is not None:
            headers = wanted_headers[:1000]
        text = (
            f"Access-Control-Allow-Methods: {methods}\r\nAccess-Control-Allow-Headers: {headers}\r\n"
            f"Access-Control-Max-Age: {self.max_age}\r\nVary: Access-Control-Request-Headers\r\n"
        )
        return text.encode("latin-1", "replace")
