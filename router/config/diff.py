"""What is different between two configurations, in words for people; keys are masked. Pure.

Some keys cannot change while the router runs: its listeners are bound, its processes are there. `in_effect` keeps
them as they are, `waiting` names them.
"""

from collections.abc import Iterator

from router.config.address import is_loopback
from router.config.keys import kind_of, section_of
from router.config.schema import BackendConfig, Config
from router.config.section import Section

FIXED = {
    "server": ("host", "port", "unix_socket", "backlog", "workers"),
    "admin": ("enabled", "host", "port"),
    "tracing": ("enabled", "endpoint", "service_name"),
}


def in_effect(running: Config, wanted: Config) -> Config:
    """Return `wanted`, but for what a running router keeps until it is started anew."""
    server = wanted.server.model_copy(update={key: getattr(running.server, key) for key in FIXED["server"]})
    kept = {key: getattr(running.admin, key) for key in FIXED["admin"]}
    if wanted.admin.token is None and not is_loopback(running.admin.host):
        kept["token"] = running.admin.token  # the listener stays where everybody reaches it: it must not stand open
    admin = wanted.admin.model_copy(update=kept)
    traced = wanted.tracing.model_copy(update={key: getattr(running.tracing, key) for key in FIXED["tracing"]})
    return wanted.model_copy(update={"server": server, "admin": admin, "tracing": traced})


def waiting(running: Config, wanted: Config) -> list[str]:
    """Return a line for each key that `in_effect` did not take up."""
    effective = in_effect(running, wanted)
    lines = [
        line for name in FIXED for line in differences(getattr(effective, name), getattr(wanted, name), f"{name}.")
    ]
    return [f"needs a restart: {line}" for line in lines]


def differences(before: Section, after: Section, prefix: str = "") -> Iterator[str]:
    """Yield a line for each value that is another one: `retry.max_attempts: 3 -> 5`. Backends are not looked at."""
    for name, field in type(before).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        inner, is_list = section_of(field)
        if old == new or inner is BackendConfig:
            continue
        if inner is not None and not is_list:
            yield from differences(old, new, f"{prefix}{name}.")
            continue
        texts = ("", "") if is_list and inner else (str(kind_of(field).render(old)), str(kind_of(field).render(new)))
        told = "changed" if texts[0] == texts[1] else f"{texts[0]} -> {texts[1]}"
        yield f"{prefix}{name}: {told}"
