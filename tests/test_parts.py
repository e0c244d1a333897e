"""Rules of router/parts.py: every key of a section reaches the part that it is meant for."""

import random
import resource

from router import parts
from router.access.overload import Marks
from router.backends.sessions import SessionRules
from router.config import Config
from router.observe.guard import memory_limit
from router.relay.dialects import Dialects
from router.relay.hedge import HedgeRules
from router.relay.queue import QueueRules
from router.wire.client import TLSOptions

CONFIG = Config.model_validate(
    {
        "server": {"max_body": 1000, "max_connections": 7, "forward_authorization": True, "idle_timeout": "off"},
        "backends": [
            {
                "url": "https://a",
                "api_key": "sk-1",
                "tls": {"verify": False},
                "max_connections": 4,
                "dialect": "mistral",
            },
            {"url": "unix:/run/b.sock", "name": "b", "models": ["m"], "api_prefix": "/"},
        ],
        "retry": {"max_attempts": 9},
        "health": {"fall": 7, "path": "/up"},
        "breaker": {"failures": 2},
        "timeouts": {"idle": "7s", "total": "9s"},
    }
)


def test_a_backend_is_told_whole() -> None:
    spec = parts.spec(CONFIG.backends[0], CONFIG)

    assert (spec.name, spec.url, spec.api_key, spec.max_connections) == ("a:443", "https://a", "sk-1", 4)
    assert (spec.dialect, spec.health_path) == ("mistral", "/up")


def test_an_endpoint_has_the_key_and_the_certificates_and_prefixes_without_end_slash() -> None:
    first, second = (parts.endpoint(backend, CONFIG) for backend in CONFIG.backends)

    assert first.origin.tls == TLSOptions(verify=False)
    assert first.key_lines(named_events=False) == b"Authorization: Bearer sk-1\r\n"
    assert (second.origin.unix_path, second.api_prefix) == ("/run/b.sock", "")


def test_limits_and_rules_have_what_is_configured() -> None:
    assert (parts.limits(CONFIG).body, parts.limits(CONFIG).connections) == (1000, 7)
    assert parts.limits(CONFIG).idle_timeout is None
    assert parts.retry_rules(CONFIG).max_attempts == 9
    assert parts.health_rules(CONFIG).fall == 7
    assert parts.breaker_rules(CONFIG).failures == 2
    assert parts.timeouts(CONFIG).idle == 7.0
    assert parts.admin_limits().body == 64 * 1024


def test_routes_are_those_of_the_prefixes() -> None:
    assert parts.routes(CONFIG).find("/api/v1/chat/completions") is not None


def test_dialects_are_told_what_is_configured() -> None:
    dialects = Dialects({})
    parts.tell_dialects(dialects, CONFIG)

    assert dialects.of("a:443").translates
    assert not dialects.of("b").translates


def test_an_endpoint_that_is_the_same_is_made_but_once_and_another_header_is_another() -> None:
    first = parts.endpoints(CONFIG)
    again = parts.endpoints(CONFIG, had=CONFIG, known=first)
    assert all(again[name] is first[name] for name in first)

    server = CONFIG.server.model_copy(update={"forward_cookies": True})
    other = parts.endpoints(CONFIG.model_copy(update={"server": server}), had=CONFIG, known=first)
    assert not any(other[name] is first[name] for name in first)


def test_ids_of_tool_calls_are_nine_letters_or_digits() -> None:
    made = {call() for call in [parts.call_ids(random.Random(1))] * 50}

    assert len(made) == 50
    assert all(len(one) == 9 and one.isalnum() for one in made)


ONE = {"backends": [{"url": "http://a"}]}


def test_more_than_the_mark_of_descriptors_is_left_for_probes() -> None:
    config = Config.model_validate({**ONE, "overload": {"max_descriptors": "50%", "max_memory": "off"}})
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert parts.marks(config) == Marks(None, limit // 2)
    assert parts.limits(config).descriptors == (limit // 2 + limit) // 2


def test_the_mark_of_memory_is_each_workers_share() -> None:
    limit = memory_limit()
    for workers in (1, 4):
        config = Config.model_validate({**ONE, "server": {"workers": workers}})
        assert parts.marks(config).memory == (None if limit is None else int(limit * parts.MEMORY_SHARE / workers))
    config = Config.model_validate({**ONE, "overload": {"max_memory": "100MB"}, "server": {"workers": 4}})
    assert parts.marks(config).memory == 100 << 20


def test_sessions_are_as_configured() -> None:
    tree = {**ONE, "sessions": {"enabled": True, "max_sessions": 100, "ttl": "1m", "headers": "X-A, X-B"}}

    assert parts.session_rules(Config.model_validate(tree)) == SessionRules(
        enabled=True, max_sessions=100, ttl=60.0, affinity=True, headers=(b"x-a", b"x-b")
    )
    assert not parts.session_rules(Config.model_validate(ONE)).enabled


def test_what_waits_and_what_is_hedged_is_as_configured() -> None:
    tree = {**ONE, "overload": {"queue_size": 7, "queue_timeout": "3s"}, "hedge": {"after": "off", "chat": True}}
    config = Config.model_validate(tree)

    assert parts.queue_rules(config) == QueueRules(7, 3.0)
    assert parts.hedge_rules(config) == HedgeRules(None, chat=True)
