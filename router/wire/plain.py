"""Tornado's `HTTPRequest` as our own `Request`: what plain users of `AsyncHTTPClient` write, in the terms of the
wire.

Not supported, and refused: proxies, network_interface, prepare_curl_callback, expect_100_continue, auth modes but
basic. Redirects are never followed and answers never inflated (nor is a coding asked for), whatever the request says.
"""

import base64
import re
import ssl
import urllib.parse
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.httputil import HTTPHeaders, encode_username_password

from router import __version__
from router.wire.client_request import METHODS_WITH_BODY, Request, TLSOptions, parse_url

USER_AGENT = f"devstral-router/{__version__}"
METHODS = METHODS_WITH_BODY | {"GET", "HEAD", "DELETE", "OPTIONS"}
OWN_LINES = frozenset({"Host", "Content-Length", "Connection", "Transfer-Encoding"})  # written by the wire itself
_HEADER_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n")  # RFC 9110, section 5
UNSUPPORTED = ("proxy_host", "proxy_port", "network_interface", "prepare_curl_callback", "expect_100_continue")


def translate(request: HTTPRequest, defaults: dict[str, Any]) -> Request:
    """Return a request with origin, target and header lines. `defaults` stand in for attributes that are None.

    Raises ValueError for a URL, method, header or body that cannot be sent, NotImplementedError for what is not
    supported.
    """
    for name in UNSUPPORTED:
        if _setting(request, name, defaults):
            raise NotImplementedError(f"{name} is not supported")
    origin, target = parse_url(request.url, tls=_tls(request, defaults))
    if isinstance(request, Request):
        timeouts = request.connect_timeout, request.request_timeout
        first_byte_timeout, idle_timeout = request.first_byte_timeout, request.idle_timeout
        on_head, fresh = request.on_head, request.fresh
    else:
        timeouts = _seconds(request, "connect_timeout", defaults), _seconds(request, "request_timeout", defaults)
        first_byte_timeout = idle_timeout = on_head = None
        fresh = False
        _check_body(request, defaults)
    return Request(
        url=request.url,
        method=request.method,
        body=request.body,
        body_producer=request.body_producer,
        origin=origin,
        target=target,
        header_lines=_header_lines(request, defaults),
        on_head=on_head,
        streaming_callback=request.streaming_callback,
        header_callback=request.header_callback,
        connect_timeout=timeouts[0],
        first_byte_timeout=first_byte_timeout,
        idle_timeout=idle_timeout,
        request_timeout=timeouts[1],
        fresh=fresh,
    )


def _setting(request: HTTPRequest, name: str, defaults: dict[str, Any]) -> Any:
    value = getattr(request, name)
    return defaults.get(name) if value is None else value


def _seconds(request: HTTPRequest, name: str, defaults: dict[str, Any]) -> float | None:
    """Return a timeout; 0 is Tornado's "none"."""
    return _setting(request, name, defaults) or None


def _check_body(request: HTTPRequest, defaults: dict[str, Any]) -> None:
    """Tornado's own checks: a method that nobody has, a body where none belongs, none where one does."""
    if _setting(request, "allow_nonstandard_methods", defaults):
        return
    if request.method not in METHODS:
        raise ValueError(f"unknown method {request.method}")
    has_body = request.body is not None or request.body_producer is not None
    if has_body != (request.method in METHODS_WITH_BODY):
        raise ValueError(f"body must {'not ' if has_body else ''}be given for method {request.method}")


def _header_lines(request: HTTPRequest, defaults: dict[str, Any]) -> bytes:
    headers = HTTPHeaders(request.headers or {})  # a copy: the caller's own stay as they are
    credentials = _credentials(request, defaults)
    if credentials is not None:
        headers["Authorization"] = credentials
    user_agent = _setting(request, "user_agent", defaults)
    if user_agent:
        headers["User-Agent"] = user_agent
    elif "User-Agent" not in headers:
        headers["User-Agent"] = USER_AGENT
    if request.method == "POST" and request.body is not None and "Content-Type" not in headers:
        headers["Content-Type"] = "application/x-www-form-urlencoded"  # as Tornado's clients do
    keep_length = request.body_producer is not None
    lines = [
        f"{name}: {value.decode('latin-1') if isinstance(value, bytes) else value}\r\n"
        for name, value in headers.get_all()
        if name not in OWN_LINES or (name == "Content-Length" and keep_length)
    ]
    if not all(_HEADER_LINE.fullmatch(line) for line in lines):
        raise ValueError("a header with a name that is no token, or with control characters")
    return "".join(lines).encode("latin-1")


def _credentials(request: HTTPRequest, defaults: dict[str, Any]) -> str | None:
    parts = urllib.parse.urlsplit(request.url)
    if parts.username is not None:
        user, password = urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
    elif request.auth_username is not None:
        if _setting(request, "auth_mode", defaults) not in (None, "basic"):
            raise NotImplementedError("auth_mode: only basic is supported")
        user, password = request.auth_username, request.auth_password or ""
    else:
        return None
    return "Basic " + base64.b64encode(encode_username_password(user, password)).decode("ascii")


def _tls(request: HTTPRequest, defaults: dict[str, Any]) -> TLSOptions | ssl.SSLContext | None:
    options = _setting(request, "ssl_options", defaults)
    if isinstance(options, ssl.SSLContext):
        return options
    if options is not None:  # Tornado's dict: arguments of ssl.wrap_socket
        verify = options.get("cert_reqs", ssl.CERT_REQUIRED) != ssl.CERT_NONE
        return TLSOptions(options.get("ca_certs"), verify, None, options.get("certfile"), options.get("keyfile"))
    return TLSOptions(
        ca_file=_setting(request, "ca_certs", defaults),
        verify=_setting(request, "validate_cert", defaults) is not False,
        cert_file=_setting(request, "client_cert", defaults),
        key_file=_setting(request, "client_key", defaults),
    )
