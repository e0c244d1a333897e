"""Schemas of what the router says of itself, to clients and to operators."""

from router.handlers.openapi.words import (
    COUNT,
    COUNT_OR_NONE,
    ERROR,
    FLAG,
    NUMBER,
    NUMBER_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    Schema,
    listed,
    one_of,
    record,
    ref,
    told,
)

_STATE: dict[str, Schema] = {
    "name": TEXT,
    "usable": told(FLAG, "It gets requests."),
    "health": told(TEXT, "As its checks have it."),
    "breaker": told(TEXT, "As its requests have it."),
    "cause": told(TEXT_OR_NONE, "Why it is down, as last seen, or why its breaker is open."),
    "in_flight": told(COUNT, "Attempts under way."),
    "models": listed(TEXT),
    "listing": told(TEXT, "Whether it has told its models."),
    "dialect": TEXT,
    "profile": TEXT,
    "resting_for": told(NUMBER, "Seconds until it gets requests again."),
}

# Of both listeners.
SHARED: dict[str, Schema] = {
    "Seen": record({}, tells="The state of the cluster, as the status page shows it; its form may change."),
    "Error": ERROR,
    "Health": record(
        {
            "status": one_of("healthy", "unhealthy"),
            "version": TEXT,
            "uptime": TEXT,
            "vllm_status": one_of("connected", "degraded", "disconnected"),
            "supported_models": listed(TEXT),
            "timestamp": {"type": "string", "format": "date-time"},
            "auth_enabled": FLAG,
            "debug_mode": FLAG,
            "backends": listed(record(_STATE, needs=("name", "usable", "health", "breaker"))),
        },
        needs=("status", "vllm_status", "supported_models", "backends"),
        tells="The state of the cluster.",
    ),
    "Counts": record(
        {
            "service": TEXT,
            "version": TEXT,
            "timestamp": {"type": "string", "format": "date-time"},
            "sessions": told({"type": "object"}, "Counts of conversations; only `enabled` where they are off."),
            "metrics": told({"type": "object"}, "By name: `type`, `help` and `samples`."),
        },
        needs=("service", "version", "timestamp", "metrics"),
        tells="All counts; docs/metrics.md tells what each means.",
    ),
    "Alive": record({"status": {"const": "ok"}}, needs=("status",)),
    "Readiness": record(
        {"status": one_of("ready", "not ready"), "reason": told(TEXT, "`draining`, or `no usable backend`.")},
        needs=("status",),
    ),
    "Document": record({"openapi": TEXT, "info": {"type": "object"}, "paths": {"type": "object"}}, needs=("openapi",)),
}

PUBLIC: dict[str, Schema] = {
    "About": record(
        {
            "name": TEXT,
            "version": TEXT,
            "description": TEXT,
            "status": TEXT,
            "api": TEXT,
            "models": TEXT,
            "health": TEXT,
            "metrics": TEXT_OR_NONE,
        },
        needs=("name", "version"),
    ),
    "Version": record({"version": TEXT}, needs=("version",)),
    "Model": record(
        {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT, "max_model_len": COUNT_OR_NONE},
        needs=("id",),
    ),
    "Models": record({"object": {"const": "list"}, "data": listed(ref("Model"))}, needs=("object", "data")),
}

ADMIN: dict[str, Schema] = {
    "Backend": record(
        {
            **_STATE,
            "url": TEXT,
            "standing": TEXT,
            "drained": told(FLAG, "An operator lets it have no requests."),
            "busy": FLAG,
            "max_connections": COUNT_OR_NONE,
            "zone": told(TEXT_OR_NONE, "Where it stands, as the configuration says."),
            "weight": COUNT,
            "share": told(NUMBER, "What part of its weight it gets at the moment."),
            "running": told(NUMBER_OR_NONE, "Requests at work in vLLM, as it says."),
            "waiting": told(NUMBER_OR_NONE, "Requests in vLLM's queue, as it says."),
            "kv_usage": told(NUMBER_OR_NONE, "Part of vLLM's cache that is in use, 0 to 1."),
            "held_for": told(NUMBER, "Seconds for which it stays down though its probes pass: it has flapped."),
        },
        needs=("name", "url", "usable", "health", "breaker", "drained", "in_flight"),
    ),
    "Backends": record(
        {
            "object": {"const": "list"},
            "data": listed(ref("Backend")),
            "predecessor": told(COUNT, "Id of a process that handed over and still finishes requests."),
        },
        needs=("object", "data"),
    ),
    "NewBackend": record(
        {
            "url": told(TEXT, "As `http://10.0.0.11:8000`."),
            "name": TEXT,
            "weight": {"type": "integer", "minimum": 1, "maximum": 100},
            "models": listed(TEXT),
        },
        needs=("url",),
        tells="The keys that `backends` has in the configuration; unknown ones are refused (422).",
    ),
    "LogChange": record(
        {
            "level": told(TEXT, "`debug`, `info`, `warning`, `error` or `critical`."),
            "sample": told(
                {"type": ["number", "string"]}, "Share of good exchanges that have a line, as `10%` or 0.1."
            ),
            "access": FLAG,
        },
        tells="Keys of `logging`; others are refused (422).",
    ),
    "Configuration": record(
        {
            "object": {"const": "config"},
            "data": listed(
                record(
                    {"key": TEXT, "value": {}, "origin": told(TEXT, "Where it came from.")},
                    needs=("key", "value", "origin"),
                )
            ),
            "middlewares": listed(
                record(
                    {
                        "name": told(TEXT, "In metrics and log."),
                        "type": TEXT,
                        "enabled": FLAG,
                        "calls": told(COUNT, "Of its hooks, in the process that answers; so are the others."),
                        "errors": COUNT,
                        "slow": COUNT,
                        "dropped": told(COUNT, "Records that were never written."),
                    },
                    needs=("name", "type", "enabled", "calls", "errors", "slow", "dropped"),
                )
            ),
            "worker": told(COUNT_OR_NONE, "Which process answers, null where there is one alone."),
        },
        needs=("object", "data", "middlewares", "worker"),
        tells="Every value that holds; keys are masked.",
    ),
    "Done": record(
        {"message": TEXT, "changes": listed(TEXT), "name": TEXT, "in_flight": COUNT_OR_NONE},
        needs=("message", "changes"),
        tells="What was carried out.",
    ),
    "Nothing": record(
        {},
        tells="Nothing is read of it, only its Content-Type counts: no page of another origin may send it.",
        example={},
    ),
}
