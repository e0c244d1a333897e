"""The events of a continuation, as the original stream's: one id, one role, one date and model, and usage summed. Pure.

    an answer to "go on from here" -> `Splice.feed` -> events that the original backend might have sent

A continuation may come in another form than the stream that it continues: a text completion goes on with a chat.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from router.relay.beginning import DONE
from router.translate.mistral.limits import says_too_much
from router.wire.sse import encode_comment, encode_event, event_data, split_events

SEAM = encode_comment("resumed on another backend")
DONE_EVENT = b"data: [DONE]\n\n"
Object = dict[str, Any]
_KEYS = (b'"content":', b'"text":')
_IDS = b'"token_ids":'
MOST_READ = 64 * 1024  # bytes of an event that is looked through for ids: those of a few tokens are short


class Splice:
    """Makes the events of one continuation those of the stream that it goes on with."""

    __slots__ = (
        *("_counted", "_generated", "_head", "_is_chat", "_owed", "_pattern", "_prompt", "has_begun", "has_finished"),
    )

    def __init__(
        self,
        head: Object,
        *,
        is_chat: bool,
        prompt: int | None = None,
        generated: int = 0,
        counted: int = 0,
        owed: str = "",
    ) -> None:
        """`head`: id, object, created and model of the original stream. `owed`: text of its that the client has not;
        it goes before the first event. Of tokens:

        `prompt`: of the original prompt, None where that is not known; `generated`: before this continuation;
        `counted`: those of the text so far as they count in the prompt of this continuation.
        """
        self._head = head
        self._is_chat = is_chat
        self._prompt = prompt
        self._generated = generated
        self._counted = counted
        self._owed = owed
        self._pattern: Pattern | None = None  # of events that differ in their text only
        self.has_begun = False  # something of it went out
        self.has_finished = False  # with a finish_reason

    def feed(self, block: bytes) -> bytes:
        """Return whole events as the client may see them; b"" where nothing of them is for the client."""
        told = None if self._pattern is None else self._pattern.apply(block)
        return b"".join(map(self._event, split_events(block))) if told is None else told

    def _event(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None:
            return event  # a comment
        if says_too_much(data):
            return self._behind_owed(event)
        if data.strip() == DONE:
            return DONE_EVENT if self.has_finished else b""  # else it is not whole
        try:
            chunk = orjson.loads(data)
            told = self._chunk(chunk)
            out = b"" if told is None else encode_event(orjson.dumps(told))
            if out and self._pattern is None:
                self._pattern = learned(event, out, text=chunk)
        except (ValueError, LookupError, TypeError, AttributeError):
            return self._behind_owed(event)  # not understood: it is passed on, as of any stream
        return self._behind_owed(out) if out else b""

    def _behind_owed(self, event: bytes) -> bytes:
        """Return an event of the continuation, behind the text that is missing before it."""
        self.has_begun = True
        if not self._owed:
            return event
        owed, self._owed = encode_event(orjson.dumps(_saying(self._head, self._owed, is_chat=self._is_chat))), ""
        return owed + event

    def _chunk(self, chunk: Object) -> Object | None:
        """Return one chunk as the original stream's, None where it says nothing new."""
        choices = chunk["choices"]
        told = {**chunk, **self._head}
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            told["usage"] = self._summed(usage)
        told.pop("prompt_token_ids", None)
        told.pop("prompt_text", None)
        if not choices:
            return told
        choice = choices[0]
        if self._is_chat:
            choice = dict(choice) if "delta" in choice else _as_delta(choice)
            delta = dict(choice["delta"] or {})
            is_opening = delta.pop("role", None) is not None
            choice["delta"] = delta
            if is_opening and not any(delta.values()) and choice.get("finish_reason") is None:
                return None
        elif choice.get("prompt_token_ids") is not None:
            choice = {**choice, "prompt_token_ids": None}
        if choice.get("finish_reason") is not None:
            self.has_finished = True
        told["choices"] = [choice, *choices[1:]]
        return told

    def _summed(self, usage: Object) -> Object:
        prompt = usage["prompt_tokens"] - self._counted if self._prompt is None else self._prompt
        completion = self._generated + usage["completion_tokens"]
        return {**usage, "prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def told_once(again: list[bytes], block: bytes) -> bytes:
    """Return whole events without the ids of tokens that the client has, where these are generated again.

    `again`: their ids; those that have come are taken out of it, and all where others have come in their stead.
    """
    if not again or _IDS not in block:
        return block
    return b"".join(_without(again, event) for event in split_events(block))


def _without(again: list[bytes], event: bytes) -> bytes:
    if len(event) > MOST_READ:
        return event
    try:
        chunk = orjson.loads(event_data(event) or b"")
        choice = chunk["choices"][0]
        ids = choice["token_ids"]
        said = choice["delta"].get("content") if "delta" in choice else choice["text"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return event  # no text, or not understood
    if type(ids) is not list:
        return event
    known = 0
    for one, told in zip(ids, again, strict=False):
        if type(one) is not int or b"%d" % one != told:
            break
        known += 1
    is_another = known < min(len(ids), len(again))
    if known == len(ids) and not said and choice.get("finish_reason") is None and chunk.get("usage") is None:
        event = b"" if known else event  # it says nothing else
    elif known:
        choice["token_ids"] = ids[known:]
        try:
            event = encode_event(orjson.dumps(chunk))
        except TypeError:  # it nests too deep to be written
            return event
    del again[: None if is_another else known]
    return event


@dataclass(frozen=True, slots=True)
class Pattern:
    """How the events of a continuation become the client's: what stands before their texts, and behind."""

    before: tuple[bytes, bytes]  # as it comes, as it goes
    behind: tuple[bytes, bytes]

    def apply(self, block: bytes) -> bytes | None:
        """Return whole events of this pattern as the client's, None where some are of another one.

        Both parts hold quotation marks that no text can hold, as they are escaped there.
        """
        count = block.count(b"\n\n")
        (before, told_before), (behind, told_behind) = self.before, self.behind
        if block.count(before) != count or block.count(behind) != count or b'"usage":{' in block:
            return None
        return block.replace(before, told_before).replace(behind, told_behind)


def learned(event: bytes, told: bytes, *, text: Object) -> Pattern | None:
    """Return the pattern of an event with text that became `told`, None where there is none. `text`: the event's JSON.

    What stands behind the text ends where the ids of its tokens begin, or with the event.
    """
    choice = text["choices"][0] if text["choices"] else {}
    said = (choice["delta"] or {}).get("content") if "delta" in choice else choice.get("text")
    if not said or choice.get("finish_reason") is not None:
        return None
    literal = orjson.dumps(said)
    before, found, behind = event.partition(literal)
    told_before, told_found, told_behind = told.partition(literal)
    if not (found and told_found and before.endswith(_KEYS) and told_before.endswith(_KEYS)):
        return None
    pattern = Pattern(
        (before + b'"', told_before + b'"'), (b'"' + _without_ids(behind), b'"' + _without_ids(told_behind))
    )
    return pattern if pattern.apply(event) == told else None


def _without_ids(behind: bytes) -> bytes:
    at = behind.find(_IDS)
    return behind.removesuffix(b"\n\n") if at < 0 else behind[: at + len(_IDS)]


def _as_delta(choice: Object) -> Object:
    """Return the choice of a text completion as one of a chat."""
    text, finish = choice["text"], choice.get("finish_reason")
    told: Object = {
        "index": choice.get("index", 0),
        "delta": {"content": text} if text else {},
        "logprobs": None,
        "finish_reason": finish,
    }
    if finish is not None:
        told["stop_reason"] = choice.get("stop_reason")
    told["token_ids"] = choice.get("token_ids")
    return told


def _saying(head: Object, text: str, *, is_chat: bool, finish: str | None = None) -> Object:
    """Return a chunk of the original stream that says this text; `finish`: its finish_reason."""
    said: Object = {"text": text} if not is_chat else {"delta": {"content": text} if text else {}}
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
    if finish is not None or not is_chat:
        choice["stop_reason"] = None
    return {**head, "choices": [choice]}


def ending(head: Object, *, is_chat: bool, finish: str | None, usage: Object | None, owed: str = "") -> list[bytes]:
    """Return the events that end a stream of which nothing is left to be generated.

    `finish`: its finish_reason, None where the client has it; `usage`: None where the client wants none; `owed`: text
    of its that the client has not.
    """
    events = []
    if finish is not None:
        events.append(encode_event(orjson.dumps(_saying(head, owed, is_chat=is_chat, finish=finish))))
    if usage is not None:
        events.append(encode_event(orjson.dumps({**head, "choices": [], "usage": usage})))
    return [*events, DONE_EVENT]


def usage_of(prompt: int, completion: int) -> Object:
    """Return the usage of a stream."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
