"""Run Tornado's own tests against our wire: `python -m tests.conformance server|client`; the results as JSON.

A result is [outcome, why]: ok, failed, or skipped by the test itself.
"""

import importlib
import json
import logging
import os
import sys
import unittest
import warnings
from typing import Any

import uvloop

from tests.conformance.adapters import put_client, put_server
from tests.conformance.expected import patterns

# The tests of httpclient_test a second time, for Tornado's other client: ours runs them there already.
LEFT_OUT = ("simple_httpclient_test.SimpleHTTPClientCommonTestCase.",)
MODULES = {
    "server": ("httpserver_test", "web_test", "routing_test", "wsgi_test", "auth_test"),
    "client": ("httpclient_test", "simple_httpclient_test"),
}
LONGEST = 400  # characters of a reason
AGAIN = 2  # times that a failure which nobody expects is tried again: some tests are short of time for a handshake


class Results(unittest.TestResult):
    """What became of each test, by its name."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.found: dict[str, tuple[str, str]] = {}

    def forget(self, name: str) -> None:
        """Take what became of a test as not seen."""
        self.found.pop(name, None)

    def _put(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        name = _name(test)
        if self.found.get(name, ("ok",))[0] == "ok":  # of one that fails twice, the first reason
            self.found[name] = (outcome, why[:LONGEST])

    def addSuccess(self, test: unittest.TestCase) -> None:  # unittest's name
        self._put(test, "ok")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._put(test, "failed", f"{err[0].__name__}: {err[1]}")

    addError = addFailure

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._put(test, "failed", f"{subtest}: {err[0].__name__}: {err[1]}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        if "abstract base class" not in reason:
            self._put(test, "skipped", reason)


def run(side: str) -> dict[str, tuple[str, str]]:
    """Run the tests of one side; return what became of each."""
    warnings.simplefilter("ignore")
    uvloop.install()
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # as Tornado's own runner does
    modules: list[Any] = [importlib.import_module(f"tornado.test.{name}") for name in MODULES[side]]
    (put_server if side == "server" else put_client)(modules)
    os.environ["EMULATION"] = "1"  # a slow machine, as Tornado's tests have it: some timeouts are longer
    results = Results()
    for module in modules:
        for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
            tests = list(suite) if isinstance(suite, unittest.TestSuite) else []
            if tests and not _name(tests[0]).startswith(LEFT_OUT):
                suite.run(results)  # of one class
    for _ in range(AGAIN):
        for name in [name for name, (outcome, _) in results.found.items() if outcome == "failed"]:
            if not patterns(side, name):
                results.forget(name)
                unittest.defaultTestLoader.loadTestsFromName(f"tornado.test.{name}").run(results)
    return results.found


def _name(test: Any) -> str:
    return test.id().removeprefix("tornado.test.")


if __name__ == "__main__":
    json.dump(run(sys.argv[1]), sys.stdout)
