"""A request as a client sent it -> the request that the backend takes (R1 to R37). Pure.

    body -> read -> Judge: canonical? -> the same bytes
                        | no
    messages -> Reader: turns -> Pairing: results behind their calls -> Placement: roles in their order -> body

What needs no change is the bytes it was: the whole body, a message's text, a field at the top.
"""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from router.errors import InvalidRequest
from router.translate.asked import Asked, RequestForm
from router.translate.mistral.asked_reader import read_asked
from router.translate.mistral.choice import judge_choice, translate_choice
from router.translate.mistral.foreign import read_messages
from router.translate.mistral.judge import UNPAIRED, Glance, Order, is_plain, judge_of, past_steps
from router.translate.mistral.limits import UNCOUNTED, check_calls, check_messages, check_texts, too_many_values
from router.translate.mistral.message import Assistant, Message, System, Tool, Turn, decode
from router.translate.mistral.names import Names
from router.translate.mistral.order import Placement
from router.translate.mistral.pairing import Pairing
from router.translate.mistral.parameters import needs_none, translate_parameters
from router.translate.mistral.roles import Reader
from router.translate.mistral.shape import CONTINUE, PROMPT, TOO_MUCH, Shape, read
from router.translate.mistral.surrogates import mend_surrogates
from router.translate.mistral.values import refusal
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

__all__ = ["Shape", "Translated", "read", "translate"]

PLAIN_VERSION = 1  # the only tokenizer without tools
NO_TOOLS = "the backend's tokenizer knows no tools"
DEFAULT_FORM = RequestForm()
READ_FIELDS = msgspec.json.Decoder(dict[str, Raw])
TRUE_WORDS = (True, "true", "1", "yes", "y", "on", "t")
ENCODER = msgspec.json.Encoder()
GROWTH = 2048  # bytes by which a request usually grows at most


@dataclass(frozen=True, slots=True)
class Translated:
    """A request as the backend takes it."""

    body: bytes  # what came in, the same object, where nothing had to change
    notes: Notes
    asked: Asked


def translate(
    body: bytes,
    profile: Profile,
    *,
    shape: Shape | None = None,
    form: RequestForm = DEFAULT_FORM,
    explain: bool = False,
) -> Translated:
    """Return the request for a backend of this profile. `shape`: what `read` found in `body`, where that is known.

    Raises InvalidRequest for what no such backend could take; its `param` is the place: "messages.3.content.0" (R37).
    """
    notes = Notes(explain=explain)
    try:
        return _read_and_translated(body, shape, profile, form=form, notes=notes)
    except RecursionError:
        raise InvalidRequest("The JSON body is nested too deeply.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        mended = mend_surrogates(body)
        if mended is body:
            raise InvalidRequest(f"The body is not JSON that can be read: {error}") from None
        done = translate(mended, profile, form=form, explain=explain)
        done.notes.repair(Rule.R36)
        return done


def _read_and_translated(
    body: bytes, shape: Shape | None, profile: Profile, *, form: RequestForm, notes: Notes
) -> Translated:
    shape = shape or read(body)
    if shape is TOO_MUCH:
        raise too_many_values(body)
    glance = Glance(0, [], UNPAIRED)
    if shape is not None:
        check_messages(len(shape.messages))
        if len(body) > UNCOUNTED:
            check_calls(shape.messages)
        asked, glance = _judged(shape, profile, form)
        if asked is not None:
            return Translated(body, notes, asked)
    return _translated(body, shape, profile, glance=glance, form=form, notes=notes)


def _judged(shape: Shape, profile: Profile, form: RequestForm) -> tuple[Asked | None, Glance]:
    """Return what is asked for where a glance tells that nothing has to change, else None; and what the glance told."""
    fields = shape.looked_at()
    choice = judge_choice(fields, profile)
    if choice is None or profile.version == PLAIN_VERSION:
        return None, Glance(0, [], UNPAIRED)
    glance = judge_of(profile).glance(shape.messages, choice.tools)
    last = glance.order.last
    if not glance.order.is_placed or last is None or not needs_none(fields, profile, form):
        return None, glance
    continues = CONTINUE in fields and _value(fields, CONTINUE) is not False
    if continues and not (_value(fields, CONTINUE) is True and _value(fields, PROMPT) is False):
        return None, glance
    if not _may_end(last, profile, continues=continues):
        return None, glance
    return read_asked(fields, choice=choice), glance


def _may_end(last: type, profile: Profile, *, continues: bool) -> bool:
    """Return whether R29 leaves the end as it is."""
    if last is Assistant:
        return continues
    return not (continues and profile.may_be_mistral_common)


def _value(fields: dict[str, object], key: str) -> object:
    value = fields.get(key)
    return decode(value) if isinstance(value, Raw) else value


def _means_true(value: object) -> bool:
    """Return whether vLLM reads a value as true; pydantic takes words and numbers too."""
    return value in TRUE_WORDS if not isinstance(value, str) else value.lower() in TRUE_WORDS


def _translated(
    body: bytes, shape: Shape | None, profile: Profile, *, glance: Glance, form: RequestForm, notes: Notes
) -> Translated:
    fields = shape.fields() if shape is not None else None
    if fields is None:
        fields = _all_fields(body)
    messages = shape.messages if shape is not None else read_messages(fields.get("messages"), notes)
    if not messages:
        raise refusal("messages must not be empty", "messages")
    names = Names()
    choice = translate_choice(fields, profile, names=names, notes=notes)
    translate_parameters(fields, profile, form=form, notes=notes)
    if choice.tools and profile.version == PLAIN_VERSION:
        raise refusal(NO_TOOLS, "tools")
    reader = Reader(profile, names=names, notes=notes)
    made, order = _made(messages, profile, glance=glance, reader=reader, known=choice.tools)
    continues = form.continue_assistant or _means_true(_value(fields, CONTINUE))
    stays = order.is_paired and order.is_placed and not (order.last is None or order.last is Assistant)
    if stays and profile.version != PLAIN_VERSION and reader.audio_at is None:
        continues = False
        fields["messages"] = _in_place(messages, made)
    else:
        turns = _turns(messages, made)
        _refuse(turns, profile, reader)
        turns, continues = _ordered(turns, order, profile, continues=continues, notes=notes)
        fields["messages"] = [turn.message for turn in turns]
    _continue(fields, profile, continues=continues, notes=notes)
    asked = read_asked(fields, choice=choice, names=names)
    return Translated(_encoded(fields, len(body)) if notes.repaired else body, notes, asked)


def _encoded(fields: dict[str, object], length: int) -> bytes:
    """Return a request's JSON. `length`: about as many bytes; room for them at once halves the cost of a long one."""
    buffer = bytearray(length + GROWTH)
    ENCODER.encode_into(fields, buffer)
    return bytes(buffer)


def _all_fields(body: bytes) -> dict[str, object]:
    check_texts(body)
    if not body.isascii():
        body.decode()
    fields: dict[str, object] = {}
    fields.update(READ_FIELDS.decode(body))
    return fields


def _made(
    messages: list[Message], profile: Profile, *, glance: Glance, reader: Reader, known: Collection[str]
) -> tuple[dict[int, list[Turn]], Order]:
    """Return what is made of the messages that are not canonical, by their numbers, and how all of them stand.

    Raises InvalidRequest (R37).
    """
    judge = judge_of(profile)
    at, rest = glance.plain, glance.rest
    made: dict[int, list[Turn]] = {}
    if at == len(messages):
        return made, glance.order
    has_media = False
    while at < len(messages):
        message = messages[at]
        if is_plain(message, known):
            rest.append(message)
        else:
            turns = made[at] = reader.turns(message, at)
            rest += [turn.message for turn in turns]
            has_media = has_media or any(turn.media for turn in turns)
        at += 1
        if judge.skips_steps and rest and type(rest[-1]) is Tool:
            at = past_steps(messages, at, known)
    return made, UNPAIRED if has_media else judge.look(rest)


def _in_place(messages: list[Message], made: dict[int, list[Turn]]) -> list[Message]:
    """Return the messages where none has to move: each as it came, or what is made of it."""
    placed = messages.copy()
    for number in reversed(made):
        placed[number : number + 1] = [turn.message for turn in made[number]]
    return placed


def _turns(messages: list[Message], made: dict[int, list[Turn]]) -> list[Turn]:
    """Return each message in its own canonical form."""
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        turns += made[number] if number in made else (Turn(message, number),)
    return turns


def _ordered(
    turns: list[Turn], order: Order, profile: Profile, *, continues: bool, notes: Notes
) -> tuple[list[Turn], bool]:
    """Return the turns in the order that a backend takes, and whether the last one is to be continued."""
    if not order.is_paired:
        turns = Pairing(profile, notes).paired(turns)
    if order.is_placed and not (order.last is None or order.last is Assistant):
        return turns, False
    placement = Placement(profile, notes)
    for turn in turns:
        placement.add(turn)
    turns = placement.finish(continues=continues)
    return turns, placement.continues


def _refuse(turns: list[Turn], profile: Profile, reader: Reader) -> None:
    """Raise InvalidRequest for what the tokenizer cannot hold (R9, R37)."""
    if profile.version == PLAIN_VERSION:
        for turn in turns:
            if type(turn.message) is Assistant and turn.message.tool_calls:
                raise refusal(NO_TOOLS, f"messages.{turn.origin}.tool_calls")
    if reader.audio_at is not None and not reader.may_sound(has_system=any(map(_is_system, turns))):
        raise refusal("the backend's tokenizer takes no audio here", f"messages.{reader.audio_at}.content")


def _is_system(turn: Turn) -> bool:
    return type(turn.message) is System


def _continue(fields: dict[str, object], profile: Profile, *, continues: bool, notes: Notes) -> None:
    """R29: an assistant's last words are continued if both fields say so; mistral-common continues nobody else's."""
    if continues:
        if _value(fields, CONTINUE) is not True or _value(fields, PROMPT) is not False:
            fields[CONTINUE], fields[PROMPT] = True, False
            notes.repair(Rule.R29, CONTINUE)
    elif profile.may_be_mistral_common and CONTINUE in fields and _value(fields, CONTINUE) is not False:
        del fields[CONTINUE]
        fields.pop(PROMPT, None)
        notes.repair(Rule.R29, CONTINUE)
