"""`${VAR}` in the texts of a configuration. Pure.

${VAR}           its value; unset is a fault: a key that silently stays "${VAR}" would be sent to a backend
${VAR:-default}  the default where it is unset or empty
${VAR:?message}  a fault with this message where it is unset or empty
$$               one dollar sign; a dollar sign before anything else stays as it is

Nothing nests, and what a variable holds is not expanded again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_DOLLAR = re.compile(r"\$(?:\$|\{([^{}]*)\}|\{.*)", re.DOTALL)
_FORMS = "write ${VAR}, ${VAR:-default} or ${VAR:?message}"
_INNER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.ASCII | re.DOTALL)


@dataclass(slots=True)
class Expansion:
    """A text with its variables filled in."""

    text: str
    names: list[str] = field(default_factory=list)  # variables whose value is in the text
    problems: list[tuple[str, str | None]] = field(default_factory=list)  # message and hint


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Return the text with every variable replaced, and what went wrong."""
    result = Expansion(text)
    if "$" in text:
        result.text = _DOLLAR.sub(lambda found: _replace(found, environ, result), text)
    return result


def _replace(found: re.Match[str], environ: Mapping[str, str], result: Expansion) -> str:
    if found[0] == "$$":
        return "$"
    inner = _INNER.fullmatch(found[1]) if found[1] is not None else None
    if found[1] is None:
        result.problems.append(("has a ${ that is not closed, or another one inside it", "write $${ for the signs"))
        return ""
    if inner is None:
        result.problems.append((f"does not understand ${{{found[1]}}}", _FORMS))
        return ""
    name, sign, rest = inner[1], inner[2], inner[3]
    value = environ.get(name)
    if value is not None and (value or sign is None):
        result.names.append(name)
        return value
    if sign == "-":
        return rest
    if sign == "?":
        result.problems.append((f"{name} is not set: {rest or 'it is needed'}", None))
    else:
        result.problems.append((f"{name} is not set", f"set it, or write ${{{name}:-default}}"))
    return ""
