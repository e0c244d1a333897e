"""What python-multipart, through which vLLM reads forms, makes of the forms that the router takes, in old versions too.

`python -m tests.fuzz.forms_read [CASES [SEED]]` sends the same odd forms to the router's reader and to each version,
under the installed Starlette, whole and in pieces, and fails where one of them finds another model or stream. The
versions are fetched by name, each into a folder of its own in the cache; one that cannot be is left out, with a line
that says so.
"""

import argparse
import importlib
import importlib.util
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import python_multipart
from starlette import formparsers

from router.errors import InvalidRequest
from router.relay.forms import fill_multipart_model, peek_multipart
from tests.fuzz.bounds import HANG, Hang, bounded, watched
from tests.fuzz.envelopes import CONTENT_TYPE, SOLE, TARGET, agree_form, fields_of
from tests.fuzz.mutate import Mutations
from tests.fuzz.odd_forms import odd_form
from tests.fuzz.seeds import form_seeds
from tests.fuzz.target import dice_of, pieces

# Parameters are read by an expression until 0.0.6, then by Python's `email`, in the newest by a copy of a part of it;
# the package is called `multipart` until 0.0.12; what is behind the last boundary is read otherwise from 0.0.18 on.
VERSIONS = ("0.0.5", "0.0.6", "0.0.9", "0.0.12", "0.0.17", "0.0.20", "0.0.26")
INSTALLED = "installed"
NAMES = ("python_multipart", "multipart")
MOST_SHOWN = 5


class Reader:
    """One version of python-multipart."""

    def __init__(self, version: str, package: Path) -> None:
        """Load it beside the installed one. `package`: the folder of its modules."""
        name = f"multipart_{version.replace('.', '_')}"
        place = package / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[str(package)])
        assert spec is not None
        assert spec.loader is not None
        self.version, self.package = version, package
        self._module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._module)
        parts: list[ModuleType] = [importlib.import_module(f"{name}.{part}") for part in ("multipart", "exceptions")]
        self._names = {
            "multipart": self._module,
            "parse_options_header": parts[0].parse_options_header,
            "FormParserError": parts[1].FormParserError,
        }
        logging.getLogger(name).setLevel(logging.CRITICAL)

    def fields(self, parts: Sequence[bytes], content_type: str) -> dict[str, Any] | None:
        """Return what it finds in a form, None where it refuses it, in whatever way."""
        before = {name: getattr(formparsers, name) for name in self._names}
        _set(self._names)
        try:
            return fields_of(parts, content_type)
        except Exception:
            return None
        finally:
            _set(before)


def _set(names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        setattr(formparsers, name, value)


def installed() -> Reader:
    """Return the version that is installed here."""
    return Reader(INSTALLED, Path(python_multipart.__file__).parent)


def fetched(version: str) -> Reader | None:
    """Return a version from the cache, or from where pip finds it; None where it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "devstral-router" / "multipart" / version
    if not (package := _package(cache)):
        wanted = f"python-multipart=={version}"
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(cache), wanted]
        subprocess.run(command, check=False, capture_output=True)
        package = _package(cache)
    return Reader(version, package) if package else None


def _package(folder: Path) -> Path | None:
    return next((folder / name for name in NAMES if (folder / name / "multipart.py").exists()), None)


def check(readers: Sequence[Reader], body: bytes, content_type: str) -> list[str] | None:
    """Return what readers find otherwise than we do in a form, None where we do not take it."""
    try:
        readings = [(body, peek_multipart(body, content_type))]
    except InvalidRequest:
        return None
    if readings[0][1].model is None:
        filled = fill_multipart_model(body, content_type, SOLE)
        readings.append((filled, peek_multipart(filled, content_type)))
    told = []
    for reader in readers:
        try:
            with bounded(HANG):
                for form, envelope in readings:
                    agree_form(envelope, reader.fields([form], content_type))
                    agree_form(envelope, reader.fields(pieces(form, dice_of(form)), content_type))
        except Hang:
            told.append(f"{reader.version}: does not end within {HANG} s")
        except AssertionError as error:
            told.append(f"{reader.version}: {error}")
    return told


def forms(seed: int) -> Iterator[tuple[str, bytes]]:
    """Make Content-Types and forms: mutated seeds, odd ones, and odd ones that are mutated."""
    seeds = {**form_seeds(), **{name: data for name, data in TARGET.found().items() if data[:1] in b"FT"}}
    dice = random.Random(seed)
    mutations = Mutations(list(seeds.values()), TARGET.words, seed=seed)
    while True:
        data = mutations.next()
        if data[:1] == b"F":
            yield CONTENT_TYPE, data[1:]
        elif data[:1] == b"T":
            line, _, body = data[1:].partition(b"\n")
            yield line.decode("latin-1"), body
        content_type, body = odd_form(dice)
        yield content_type, body
        mutated = Mutations([body], TARGET.words, seed=dice.getrandbits(30))
        yield content_type, mutated.next()


def run(readers: Sequence[Reader], *, cases: int, seed: int) -> int:
    """Send forms to all of them; return how many were read otherwise by any."""
    taken = differing = 0
    began = time.monotonic()
    with watched() as alive:
        for number, (content_type, body) in enumerate(islice(forms(seed), cases)):
            if any(sign < " " or sign == "\x7f" for sign in content_type.replace("\t", " ")):
                continue  # llhttp lets no such header through
            told = check(readers, body, content_type)
            taken += told is not None
            differing += bool(told)
            if told and differing <= MOST_SHOWN:
                print(f"  {content_type!r} {body!r}\n    " + "\n    ".join(told))
            if number % 100 == 0:
                alive()
    print(
        f"forms, seed {seed}: {cases:,} cases in {time.monotonic() - began:.0f} s, {taken:,} of them taken, "
        f"{differing} read otherwise by one of {', '.join(reader.version for reader in readers)}"
    )
    return differing


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.forms_read", description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="?", type=int, default=20_000)
    parser.add_argument("seed", nargs="?", type=int, default=1)
    given = parser.parse_args()
    found = {version: fetched(version) for version in VERSIONS}
    for version in (version for version, reader in found.items() if reader is None):
        print(f"python-multipart {version} is left out: it could not be installed", file=sys.stderr)
    readers = [reader for reader in found.values() if reader is not None]
    return 1 if run([*readers, installed()], cases=given.cases, seed=given.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
