"""Keys in a file that everybody on the machine can read: no fault, for it may be meant so, but worth a line."""

import os
import stat
from collections.abc import Mapping

from router.config.schema import Config
from router.config.show import values
from router.config.values import MASK


def notices(config: Config, origins: Mapping[str, str], *, file: str | None, env_file: str) -> list[str]:
    """Return a line for each file with keys in it that others can read. `origins`: as `load` tells them."""
    holding = set()
    for path, text in values(config):
        origin = origins.get(path, "")
        if text != MASK or origin.startswith("--"):
            continue
        if ".env " in origin:
            holding.add(env_file)
        elif "env " not in origin and file is not None:
            holding.add(file)
    return [
        f"{path} holds keys, and everybody on this machine can read it: let only the router's user read it, or give"
        " keys as ${VARIABLES} of its environment"
        for path in sorted(holding)
        if is_public(path)
    ]


def is_public(path: str) -> bool:
    """Return whether everybody on the machine can read a file."""
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False  # it was there a moment ago
