"""One target under libFuzzer, in a process of its own: `python -m tests.fuzz.under_atheris TARGET OPTIONS`."""

import sys

import atheris

with atheris.instrument_imports(include=["router"]):
    import router.app  # so that all of it is instrumented, before the targets import what they need

from tests.fuzz.targets import TARGETS


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    assert router.app
    run = TARGETS[sys.argv.pop(1)].run
    atheris.Setup(sys.argv, lambda data: run(bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
