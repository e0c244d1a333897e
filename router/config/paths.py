"""Files and sockets that a start will open: no fault, for `check` may run elsewhere, but worth a line."""

from collections.abc import Iterator
from pathlib import Path

from router.config.schema import Config


def notices(config: Config) -> Iterator[str]:
    """Yield a line for each path at which nothing can be made on this machine."""
    for key, path in (("logging.file", config.logging.file), ("server.unix_socket", config.server.unix_socket)):
        if path is None:
            continue
        if Path(path).is_dir():
            yield f"{key}: {path} is a folder here: the router will not start"
        elif not Path(path).absolute().parent.is_dir():
            yield f"{key}: there is no folder {Path(path).absolute().parent} here: the router will not start"
