"""Tornado's tests that do not pass on our wire, and why. Each line must be needed: one that passes fails the run.

`*` stands for any classes or tests; every test that a pattern names must fail.
"""

import enum
from fnmatch import fnmatchcase

TORNADO = "6.6.1"  # whose tests these are


class Why(enum.Enum):
    """What the difference is."""

    STRICTER = "our wire refuses what Tornado accepts or forgives"
    STATUS = "our wire answers with another status, or with a body beside it"
    RESET = "an answer that breaks ends by a reset, so that it never looks whole"
    ABSENT = "what we do not have, and nobody here needs"
    REDIRECTS = "redirects of backends are not followed"
    CODINGS = "bodies are neither inflated nor asked for compressed"
    ERRORS = "errors below HTTP are ours (router.errors), and so are their words"
    FORM = "another form that means the same"


SERVER = {
    "httpserver_test.BadSSLOptionsTest.*": (Why.FORM, "made within a running loop, where bad options do fail"),
    "httpserver_test.BodyLimitsTest.test_large_body_*ed": (Why.STATUS, "413 instead of 400"),
    "httpserver_test.BodyLimitsTest.test_large_body_streaming": (Why.STATUS, "413 instead of 400"),
    "httpserver_test.BodyLimitsTest.test_large_body_*_override": (Why.ABSENT, "set_max_body_size: a limit per request"),
    "httpserver_test.BodyLimitsTest.test_body_size_override_reset": (Why.ABSENT, "set_max_body_size"),
    "httpserver_test.BodyLimitsTest.test_timeout": (Why.ABSENT, "set_body_timeout: a timeout per request"),
    "httpserver_test.GzipMemoryTest.*": (Why.CODINGS, "decompress_request"),
    "httpserver_test.GzipTest.test_gzip*": (Why.CODINGS, "decompress_request"),
    "httpserver_test.GzipTest.test_size_limit": (Why.CODINGS, "decompress_request"),
    "httpserver_test.HTTPConnectionTest.test_newlines": (Why.STRICTER, "a line ends in CRLF, not in LF alone"),
    "httpserver_test.HTTPServerRawTest.test_invalid_methods": (Why.STATUS, "501 for a method that nobody has, not 405"),
    "httpserver_test.KeepAliveTest.test_http10": (Why.FORM, "`Connection: close` is said to HTTP/1.0 too"),
    "httpserver_test.KeepAliveTest.test_http10_keepalive*": (Why.FORM, "`keep-alive` in small letters"),
    "httpserver_test.KeepAliveTest.test_keepalive_chunked": (Why.STRICTER, "no Transfer-Encoding in HTTP/1.0"),
    "httpserver_test.LegacyInterfaceTest.*": (Why.ABSENT, "answers that an application writes as raw bytes"),
    "httpserver_test.ManualProtocolTest.*": (Why.ABSENT, "the option `protocol`"),
    "httpserver_test.SSLXHeaderTest.*": (Why.ABSENT, "xheaders"),
    "httpserver_test.StreamingChunkSizeTest.*": (Why.ABSENT, "the option `chunk_size`: a piece is one read"),
    "httpserver_test.UnixSocketTest*.test_unix_socket_bad_request": (Why.STATUS, "a 400 has a body"),
    "httpserver_test.XHeaderTest.*": (Why.ABSENT, "xheaders"),
    "web_test.ClientCloseTest.*": (Why.ABSENT, "`connection.stream`: there is no IOStream"),
    "web_test.*FlowControlTest.test_flow_control_*": (Why.ABSENT, "the option `chunk_size`, see above"),
    "web_test.IncorrectContentLengthTest.*": (Why.RESET, "a body of another length than was declared"),
    "web_test.PatchMethodTest.test_other": (Why.STATUS, "501 for a method that nobody has"),
    "web_test.UnimplementedNonStandardMethodsTest.test_unimplemented_other": (Why.STATUS, "501, not 405"),
}
CLIENT = {
    "httpclient_test.*.test_bind_source_ip": (Why.ABSENT, "network_interface"),
    "httpclient_test.*.test_body_sanity_checks": (Why.FORM, "the same checks in other words"),
    "httpclient_test.*.test_*decompression_bomb*": (Why.CODINGS, ""),
    "httpclient_test.*.test_*_redirect": (Why.REDIRECTS, ""),
    "httpclient_test.*.test_redirect_put_*": (Why.REDIRECTS, ""),
    "httpclient_test.*.test_put_307": (Why.REDIRECTS, ""),
    "httpclient_test.*.test_invalid_gzip": (Why.CODINGS, ""),
    "httpclient_test.*.test_multi_line_headers": (Why.ERRORS, "refused as in Tornado; the error is BadResponse"),
    "httpclient_test.*.test_response_times": (Why.ABSENT, "start_time: nobody here asks for it"),
    "httpclient_test.*.test_unsupported_auth_mode": (Why.ERRORS, "NotImplementedError instead of ValueError"),
    "simple_httpclient_test.GzipResponseTestCase.test_concatenated": (Why.CODINGS, ""),
    "simple_httpclient_test.GzipResponseTestCase.test_invalid": (Why.CODINGS, ""),
    "simple_httpclient_test.HostnameMappingTestCase.test_port_mapping": (Why.ABSENT, "names are mapped, ports are not"),
    "simple_httpclient_test.ResolveTimeoutTestCase.*": (Why.ERRORS, "a timeout of connecting, whatever it waits for"),
    "simple_httpclient_test.TLSHandshakeTimeoutTestCase.*": (Why.ERRORS, "the same"),
    "simple_httpclient_test.*.test_connect_timeout": (Why.ERRORS, "the same"),
    "simple_httpclient_test.*.test_queue_timeout": (Why.ERRORS, "the same"),
    "simple_httpclient_test.*.test_connection_refused": (Why.ERRORS, "ConnectError, without an errno"),
    "simple_httpclient_test.*MaxBodySizeTestCase.test_large_body": (Why.ERRORS, "BadResponse"),
    "simple_httpclient_test.*MaxBodySizeTestCase.test_reuse_after_refusal": (Why.ERRORS, "BadResponse"),
    "simple_httpclient_test.*MaxBodySizeTestCase.*decompressed*": (Why.CODINGS, ""),
    "simple_httpclient_test.*.test_streaming_callback_over_limit": (Why.ABSENT, "it is not kept: no limit"),
    "simple_httpclient_test.Simple*.test_100_continue*": (Why.ABSENT, "expect_100_continue"),
    "simple_httpclient_test.*.test_default_user_agent": (Why.FORM, "our own name"),
    "simple_httpclient_test.*.test_*_callback_error": (Why.ERRORS, "the callback's own error, not a lost connection"),
    "simple_httpclient_test.*.test_streaming_callback_coroutine_cancelled": (Why.ERRORS, "the fetch is cancelled"),
    "simple_httpclient_test.*.test_ipv6": (Why.ABSENT, "allow_ipv6"),
    "simple_httpclient_test.*.test_*redirect*": (Why.REDIRECTS, ""),
    "simple_httpclient_test.*.test_multiple_content_length_accepted": (Why.STRICTER, "a Content-Length is one number"),
    "simple_httpclient_test.SimpleHTTPSClientTestCase.test_no_content_length": (
        Why.STRICTER,
        "by TLS, the end of a connection is no end of an answer",
    ),
}
EXPECTED = {"server": SERVER, "client": CLIENT}


def patterns(side: str, name: str) -> list[str]:
    """Return the lines that say of a test that it fails."""
    return [pattern for pattern in EXPECTED[side] if fnmatchcase(name, pattern)]
