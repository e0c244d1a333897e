"""The fast reader: a request that is already as a backend takes it is seen to be so in one pass, and stays its bytes.

`read` decodes what it knows into structs and passes over the text of the messages; `Judge` looks at the outcome. What
either does not know costs a second, slower reading in `request.py`, and is no fault.
"""

from operator import attrgetter

import msgspec
from msgspec import UNSET

from router.translate.mistral import asked_reader, choice, parameters
from router.translate.mistral.limits import is_too_much
from router.translate.mistral.message import Message
from router.translate.mistral.top import KnownFields, LooseFields
from router.translate.mistral.values import UNREADABLE

READ = msgspec.json.Decoder(KnownFields)
# What msgspec says of a key that a struct does not have, and of a place below the top level.
UNKNOWN_KEY, DEEPER = "unknown field", " - at `$"
READ_LOOSE = msgspec.json.Decoder(LooseFields)
# The fields that a rule looks at.
CONTINUE, PROMPT = "continue_final_message", "add_generation_prompt"
LOOKED_AT = asked_reader.CONCERNED | choice.CONCERNED | parameters.CONCERNED | {CONTINUE, PROMPT}
LOOKED_AT_IN_ORDER = tuple(sorted(LOOKED_AT & frozenset(KnownFields.__struct_fields__)))

_looked_at = attrgetter(*LOOKED_AT_IN_ORDER)


class Shape:
    """What `read` found."""

    __slots__ = ("messages", "model", "stream", "top")

    def __init__(self, top: KnownFields) -> None:
        """`top`: what the top level says."""
        self.top = top
        self.messages: list[Message] = [] if top.messages is UNSET else top.messages
        self.model: str | None = top.model if top.model is not UNSET and top.model else None
        self.stream = top.stream is True

    def looked_at(self) -> dict[str, object]:
        """Return those fields that a rule looks at."""
        values = zip(LOOKED_AT_IN_ORDER, _looked_at(self.top), strict=True)
        return {name: value for name, value in values if value is not UNSET}

    def fields(self) -> dict[str, object] | None:
        """Return all fields but the messages, None where some are not known."""
        if isinstance(self.top, LooseFields):
            return None
        fields = {name: value for name, value in msgspec.structs.asdict(self.top).items() if value is not UNSET}
        fields.pop("messages", None)
        return fields


TOO_MUCH = Shape(KnownFields())  # of a request that is refused (R37)


def read(body: bytes) -> Shape | None:
    """Return what stands in a request, None where it is not of the usual shape: then nothing is known of it.

    It is `TOO_MUCH` where there are too many values: none of them was read.
    """
    if is_too_much(body):
        return TOO_MUCH
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    top: KnownFields
    try:
        top = READ.decode(body)
    except msgspec.ValidationError as error:
        if UNKNOWN_KEY not in str(error) or DEEPER in str(error):
            return None  # of another type, or not at the top level: reading it loosely would fail too
        try:
            top = READ_LOOSE.decode(body)
        except UNREADABLE:
            return None
    except UNREADABLE:
        return None
    return Shape(top)
