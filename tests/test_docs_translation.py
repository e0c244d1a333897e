"""docs/translation.md and the code: every rule is found both ways, and the examples say what the command says."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from router.translate.mistral.limits import (
    MAX_CALLS,
    MAX_MEMBERS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_SCHEMAS,
    MAX_TOOLS,
    MAX_VALUES,
)
from router.translate.mistral.schema import TEXT_CHARACTERS
from router.translate.notes import Rule
from router.translate.profile import PRESETS, Profile, Renderer, parse_profile
from router.translate.refusals import told

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "translation.md").read_text()
ID = re.compile(r"\b[RS]\d+\b")
RANGE = re.compile(r"\b([RS])(\d+)(?:-| to )\1?(\d+)\b")
MODULES = sorted((ROOT / "router" / "translate").rglob("*.py"))


def entry_of(rule: Rule) -> str | None:
    """The text of a rule's own entry, None where it has none."""
    found = re.search(rf"^- \*\*{rule.name}\*\* (.+?)(?=^- |^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found and found[1]


def docstrings() -> str:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    trees = (ast.walk(ast.parse(module.read_text(), module)) for module in MODULES)
    return "\n".join(ast.get_docstring(node) or "" for tree in trees for node in tree if isinstance(node, holders))


def fenced(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for own, text in blocks if own == language]


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_one_entry(rule: Rule) -> None:
    assert entry_of(rule)
    assert len(re.findall(rf"^- \*\*{rule.name}\*\*", PAGE, re.MULTILINE)) == 1


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule.name.startswith("R") and rule is not Rule.R37])
def test_every_entry_of_a_request_says_what_it_costs(rule: Rule) -> None:
    text = " ".join((entry_of(rule) or "").split())

    assert re.search(r"\bLost: |\bLoses nothing|\bAdds (this|an) ", text)


def test_every_id_on_the_page_is_a_rule() -> None:
    assert set(ID.findall(PAGE)) <= set(Rule.__members__)


def test_every_rule_stands_in_a_table_of_fields() -> None:
    """Whoever asks what becomes of a field finds the rule, and from the rule the field."""
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    named = set(ID.findall(rows))
    for letter, first, last in RANGE.findall(rows):
        named |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}

    assert named == set(Rule.__members__)


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_stands_in_the_docstring_of_what_carries_it_out(rule: Rule) -> None:
    assert rule.name in ID.findall(docstrings())


def test_every_id_in_a_docstring_is_a_rule() -> None:
    assert set(ID.findall(docstrings())) <= set(Rule.__members__)


def test_every_profile_that_can_be_configured_is_explained() -> None:
    for name in PRESETS:
        assert f"\n| `{name}` |" in PAGE


def test_every_word_of_a_status_page_is_explained() -> None:
    rows = PAGE[PAGE.index("\n### What /health says") : PAGE.index("\n### How to see what it did")]
    full = {"thinking": True, "nine_ids": False, "bridge": False, "strict_tools": True}
    told = [
        Profile(renderer, version, vision=vision, **full).describe()
        for renderer, version in [(None, None), (Renderer.TEMPLATE, None), (Renderer.MISTRAL_COMMON, 13)]
        for vision in (True, False)
    ]

    for word in {word for one in told for word in one.split(", ")}:
        assert f"`{word}`" in rows
    for text in ("dialect", "profile", "stream_tools", "version", "passthrough", "emulate", "auto", "openai"):
        assert f"`{text}`" in rows


def test_every_profile_in_an_example_can_be_read() -> None:
    examples = re.findall(r'(?:--profile|"profile":) "([^"]+)"', PAGE)

    assert len(examples) > 1
    for text in examples:
        assert parse_profile(text).describe() == text


def test_every_limit_is_told() -> None:
    for most, what in [(MAX_MESSAGES, "messages"), (MAX_PARTS, "parts of content"), (MAX_CALLS, "calls")]:
        assert len(re.findall(rf"\b{most:,}\s+{what}", PAGE)) > 1
    assert f"{MAX_TOOLS:,} tools" in PAGE
    text = " ".join(PAGE.split())
    for most in (f"{MAX_VALUES:,} values", f"{MAX_MEMBERS:,} values", f"{MAX_SCHEMAS:,} (?:are )?objects and arrays"):
        assert len(re.findall(most, text)) > 1
    assert f"{TEXT_CHARACTERS >> 10} KiB of such texts" in text


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


def test_every_reference_is_used_and_has_an_address() -> None:
    defined = set(re.findall(r"^\[([^\]]+)\]: https://github\.com/", PAGE, re.MULTILINE))
    used = set(re.findall(r"\[([\w-]+#\d+)\](?!:)", PAGE))

    assert used == defined


@pytest.mark.parametrize(("first", "flags"), [(0, []), (1, ["--answer"])], ids=["request", "answer"])
def test_the_examples_say_what_the_command_says(first: int, flags: list[str]) -> None:
    given, expected = fenced("json")[2 * first : 2 * first + 2]
    done = subprocess.run(
        [sys.executable, "-m", "router", "translate", *flags, "--explain"],
        input=given,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )

    assert json.loads(done.stdout) == json.loads(expected)
    assert done.stderr.strip() == fenced("")[first].strip()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 413, 422, 429, 500, 501, 502, 503, 504])
def test_the_table_of_errors_says_what_a_client_is_told(status: int) -> None:
    """Of an error that says nothing but its status; what texts add is told apart in the code's own tests."""
    ours = told(status, b"", we_hold_key=False)
    table = PAGE[PAGE.index("| the backend says |") : PAGE.index("\n\nAn empty cell is null.")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    rows = {(kind, code) for said, _, kind, code, *_ in cells if str(status) in said}
    statuses = {told for said, told, *_ in cells if str(status) in said}

    assert (ours.kind, ours.code or "") in rows
    assert statuses & {str(ours.status), "the same"}
