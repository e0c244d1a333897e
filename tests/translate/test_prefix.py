"""T4: a conversation that grows keeps its prompt: each request's tokens begin with those of the request before.

vLLM caches prompts by their prefix; a translation that changed early messages later on would pay for them again. Only
v13 and later allow it: older formats put the tools before the last user message.
"""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings

from router.translate.mistral.request import translate
from tests.translate.conversations import growing
from tests.translate.corpus.case import (
    TIME,
    WEATHER,
    Json,
    assistant,
    call,
    calls,
    image,
    result,
    system,
    text,
    tool,
    user,
)
from tests.translate.real.workers import Fleet, Job
from tests.translate.targets import PROFILES, combinations, dump

CLEAN = [
    system("You are a coding agent."),
    user("Fix the bug in a.py."),
    calls(call("aaaaaaaa1", "read_file", '{"path": "a.py"}'), content="I read it."),
    result("aaaaaaaa1", "def f(): retrun 1"),
    calls(call("aaaaaaaa2", "write_file", '{"path": "a.py", "text": "def f(): return 1"}'), content=""),
    result("aaaaaaaa2", "ok"),
    calls(call("aaaaaaaa3", "run", '{"cmd": "pytest"}'), call("aaaaaaaa4", "run", '{"cmd": "ruff"}'), content=""),
    result("aaaaaaaa3", "1 passed"),
    result("aaaaaaaa4", "All checks passed!"),
    assistant("Done: the typo is gone."),
    user("Commit it."),
    calls(call("aaaaaaaa5", "run", '{"cmd": "git commit"}'), content=""),
    result("aaaaaaaa5", "[main 1234567]"),
]
OPENAI = [
    {"role": "developer", "content": [text("You are a coding agent.")]},
    user([text("Fix the bug."), text("It is in a.py.")]),
    calls({"index": 0, **call("call_9XyZabCdEfGhIjKlMnOpQrSt", "fs.read", '{"path": "a.py"}')}),
    result("call_9XyZabCdEfGhIjKlMnOpQrSt", [text("def f(): retrun 1")]),
    {"role": "assistant", "content": "A typo.", "refusal": None, "annotations": [], "tool_calls": None},
    {"role": "user", "content": "Mend it.", "name": "bob"},
    {
        **calls(call("call_0", "fs.write", {"path": "a.py"}), call("call_1", "run", "")),
        "reasoning_content": "I write, then test.",
    },
    result("call_1", {"passed": 1}),
    result("call_0", None),
    assistant("Done."),
    user("Commit it."),
]
NOTES = [
    system("You are a coding agent."),
    user("Fix the bug."),
    calls(call("functions.read:0", "read", "{}"), content=""),
    result("functions.read:0", "text"),
    user("Be quick."),
    calls(call("functions.read:0", "read", "{}"), content=""),
    result("functions.read:0", "more text"),
    user([text("environment: main.py")]),
    assistant("Done."),
    {"role": "system", "content": "New rule: answer in French."},
    user("And now?"),
    assistant("Fini."),
    user("Merci."),
]
BROKEN = [
    calls(call("call_lost", "read", "{}")),
    result("call_lost", "from a trimmed history"),
    user("Go on."),
    calls(call("call_a", "read", "{}"), call("call_b", "run", "{}"), content="Both."),
    user("Stop!"),
    assistant("Stopped."),
    user("Go on."),
    calls(call("call_c", "read", "{}")),
    result("call_c", "text"),
    result("call_unknown", "of a call that was cut"),
    assistant("Hm."),
    user("Well?"),
    assistant([{"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "b"}}]),
    user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "text of b"}, text("Sum it up.")]),
    assistant("It is text."),
    user("Thanks."),
]
PICTURES = [
    user([text("What is it?"), image()]),
    assistant("Two pixels."),
    user("Take a screenshot."),
    calls(call("call_0", "run", "{}")),
    result("call_0", [text("Here."), image(detail="low")]),
    assistant("I see."),
    user([{"type": "input_text", "text": "And this?"}, image()]),
]
TALKS = {"clean": CLEAN, "openai": OPENAI, "notes": NOTES, "broken": BROKEN, "pictures": PICTURES}
TOOLS = [WEATHER, TIME, *(tool(name) for name in ("read_file", "write_file", "run", "read", "fs.read", "fs.write"))]
KEEPING = ("v13", "v13-think", "v15")


def steps(talk: list[Json], tools: list[Json] = TOOLS) -> list[Json]:
    """Every request that an agent would have sent on the way: whenever it is the model's turn, all results there."""
    ends = [
        end
        for end in range(1, len(talk) + 1)
        if talk[end - 1]["role"] in ("user", "tool") and (end == len(talk) or talk[end]["role"] == "assistant")
    ]
    return [{"messages": talk[:end], "tools": tools} for end in ends]


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("profile", [*KEEPING, "strictest", "v13-modern", "v15-modern"])
def test_each_prompt_begins_with_the_one_before(fleet: Fleet, talk: str, profile: str) -> None:
    bodies = [json.loads(translate(dump(body), PROFILES[profile]).body) for body in steps(TALKS[talk])]
    suited = [name for name in KEEPING if profile == "strictest" or name == profile.removesuffix("-modern")]
    pairs = [pair for pair in combinations(fleet, suited) if "modern" not in profile or pair[0].startswith("1.13")]

    jobs = [Job(version, name, "openai", "test", bodies) for version, name in pairs]
    for job, results in zip(jobs, fleet.encode(jobs), strict=True):
        for before, after in itertools.pairwise(results):
            assert after["tokens"][: len(before["tokens"])] == before["tokens"], (
                job.version,
                before["text"],
                after["text"],
            )


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("profile", PROFILES)
def test_messages_of_earlier_requests_stay_as_they_were(talk: str, profile: str) -> None:
    """The same for every profile, and without any tokenizer; only the last message of a request may grow or go."""
    sent = [json.loads(translate(dump(body), PROFILES[profile]).body)["messages"] for body in steps(TALKS[talk])]

    for before, after in itertools.pairwise(sent):
        assert after[: len(before) - 1] == before[:-1]


@given(body=growing())
@settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_any_agents_conversation_keeps_its_prompt(body: Json) -> None:
    """Whatever ids, names and parts the client uses: what was sent once is sent again as it was."""
    for name in (*KEEPING, "strictest", "v13-modern"):
        requests = steps(body["messages"], body["tools"])
        sent = [json.loads(translate(dump(each), PROFILES[name]).body)["messages"] for each in requests]

        for before, after in itertools.pairwise(sent):
            assert after[: len(before)] == before, name
