"""Rules of router/handlers/openapi/pages.py: pages of this origin alone, that a strict policy lets work."""

import re

import pytest

from router.handlers.docs import docs_pages
from router.handlers.openapi import pages

PAGES = {"swagger": pages.SWAGGER, "redoc": pages.REDOC, "missing": pages.MISSING}
SCRIPTS = {"swagger": pages.SWAGGER_START, "redoc": pages.REDOC_START, "style": pages.STYLE}


@pytest.mark.parametrize("text", [*PAGES.values(), *SCRIPTS.values()], ids=[*PAGES, *SCRIPTS])
def test_nothing_names_another_host(text: str) -> None:
    assert not re.findall(r"(?:https?:)?//\w|@import|url\(", text)


@pytest.mark.parametrize("text", PAGES.values(), ids=list(PAGES))
def test_scripts_are_files_that_are_served(text: str) -> None:
    """The policy allows none within a page."""
    served = docs_pages(dict)

    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL):
        assert not body
        assert "src=" in attributes
    assert not re.search(r"\son\w+=", text)
    for path in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert path == "data:," or f"/{path}" in served


@pytest.mark.parametrize("text", PAGES.values(), ids=list(PAGES))
def test_paths_are_relative_so_that_the_pages_work_below_a_prefix(text: str) -> None:
    assert not re.findall(r'(?:src|href)="/', text)


def test_the_policy_allows_nothing_that_is_not_named() -> None:
    rules = dict(rule.split(" ", 1) for rule in pages.POLICY.split("; "))

    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert not re.search(r"\*|http|unsafe-eval", pages.POLICY)
