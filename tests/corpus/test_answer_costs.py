"""Making a large answer OpenAI's costs a few times what it takes to pass over it, whatever a backend puts into it: one
answer must not hold up everybody else."""

from collections.abc import Callable

import pytest

from router.errors import BackendUnavailable
from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.answer import translate_answer
from router.translate.mistral.stream import StreamTranslator
from tests.corpus.test_costs import NUMBERED, TRIES, cost, peek, row

LARGE = 10 << 20  # bytes, of an answer in one piece
EVENT = 5 << 20
MOST = 25.0  # times what it takes to pass over as many bytes of the shortest values
ASKED = Asked(tools=frozenset({"f"}), include_usage=True)
FULL = b'{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}'

Shape = Callable[[int], bytes]


def said(content: bytes, more: bytes = b"") -> bytes:
    message = b'{"role":"assistant","content":%b%b}' % (content, more)
    return b'{"choices":[{"index":0,"message":%b,"finish_reason":"stop"}]}' % message


def called(calls: bytes) -> bytes:
    return said(b"null", b',"tool_calls":' + calls)


def with_arguments(arguments: bytes) -> bytes:
    return called(b'[{"id":"a","type":"function","function":{"name":"f","arguments":%b}}]' % arguments)


SHAPES: dict[str, Shape] = {
    "choices that are none": lambda n: b'{"choices":%b}' % row(b"{}", n),
    "choices that are lists": lambda n: b'{"choices":%b}' % row(b"[]", n),
    "choices": lambda n: b'{"choices":%b}' % row(b'{"index":0,"message":{"content":"a"},"finish_reason":"stop"}', n),
    "calls that are none": lambda n: called(row(b"{}", n)),
    "calls": lambda n: called(row(FULL, n)),
    "keys": lambda n: b'{"choices":[],"x":%b}' % NUMBERED(n),
    "parts": lambda n: said(row(b'{"type":"text","text":"a"}', n)),
    "leaked calls": lambda n: said(b'"%b"' % (b"[TOOL_CALLS]f[ARGS]{}" * (n // 21))),
    "marks": lambda n: said(b'"%b"' % (b"[TOOL_CALLS]" * (n // 12))),
    "a list behind a mark": lambda n: said(b'"[TOOL_CALLS][%b"' % (b"{}," * (n // 3))),
    "thoughts": lambda n: said(b'"%b"' % (b"[THINK]a[/THINK]" * (n // 16))),
    "brackets": lambda n: said(b'"%b"' % (b"[" * n)),
    "arguments that only begin": lambda n: with_arguments(b'"%b"' % (b"{" * n)),
    "arguments one behind the other": lambda n: with_arguments(b'"%b"' % (b"{}" * (n // 2))),
    "arguments that are no text": lambda n: with_arguments(b'{"a":%b}' % row(b"{}", n)),
    "lists, as many as are read": lambda n: said(b'"a"', b',"x":' + row(b"[%b]" % (b" " * 15), n)),
    "log probabilities": lambda n: (
        b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":%b}}]}' % row(b'{"token":"a","logprob":-1}', n)
    ),
}


def whole(answer: bytes, size: int) -> None:
    try:
        translate_answer(answer, ASKED, form=AnswerForm(), new_id=lambda: "abcDEF123")
    except BackendUnavailable:
        return


def streamed(answer: bytes, size: int) -> None:
    translator = StreamTranslator(ASKED, form=AnswerForm(), new_id=lambda: "abcDEF123")
    translator.feed(b"data: " + answer.replace(b'"message":', b'"delta":') + b"\n\n")
    translator.finish()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("translate", "size"), [(whole, LARGE), (streamed, EVENT)], ids=["whole", "in one event"])
def test_a_large_answer_costs_a_few_times_what_passing_over_it_does(
    translate: Callable[[bytes, int], None], size: int, shape: Shape
) -> None:
    answer, plain = shape(size), b'{"x":%b}' % row(b"{}", size)
    seen = []
    for _ in range(TRIES):
        seen.append((cost(peek, plain, 0), cost(translate, answer, 0)))
        if min(after for _, after in seen) <= MOST * min(before for before, _ in seen):
            return
    raise AssertionError(f"seconds of the processor, to pass over an answer and to translate one: {seen}")
