"""Which message may stand where: one walk over turns (R14 to R16, R21 to R23, R29).

Results stand behind their calls already.

mistral-common takes several messages of a role in a row and joins them itself; Mistral's templates insist on user and
assistant by turns, behind at most one system message. Nothing moves to the front: a prompt that begins as the last
one did is what a backend has in its cache.
"""

from msgspec import UNSET, Raw

from router.translate.mistral.message import (
    EMPTY,
    SPACE,
    Assistant,
    Message,
    System,
    Tool,
    Turn,
    User,
    as_parts,
    encoded,
    is_silent,
    is_text,
    joined,
)
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

ONE_OR_OTHER_VERSION = 3  # up to here a message of the assistant has text or calls


def takes_one_or_other(profile: Profile) -> bool:
    """Return whether a message of the assistant may not have text beside its calls (R23)."""
    return profile.version is not None and profile.version <= ONE_OR_OTHER_VERSION


def joins_rows(profile: Profile) -> bool:
    """Return whether messages of one role in a row must become one (R16): the renderer would not, or could not."""
    return profile.may_be_template or takes_one_or_other(profile)


class Placement:
    """Takes turns one by one; what it holds is what a backend takes."""

    __slots__ = ("_bridge", "_joins", "_notes", "_one_or_other", "_run", "_template", "continues", "placed")

    def __init__(self, profile: Profile, notes: Notes) -> None:
        """Nothing is placed yet."""
        self._notes = notes
        self._template = profile.may_be_template
        self._joins = joins_rows(profile)
        self._bridge = profile.bridge
        self._one_or_other = takes_one_or_other(profile)
        self._run: list[Turn] = []  # turns that become one message
        self.placed: list[Turn] = []
        self.continues = False  # the last message is to be continued, not answered (R29)

    def add(self, turn: Turn) -> None:
        """Put the turn behind all others."""
        message = turn.message
        if not self._run and self._is_plain_step(message):
            self.placed.append(turn)
        elif type(message) is Tool:
            self._close()
            self.placed.append(turn)
        elif type(message) is Assistant:
            self._assistant(turn, message)
        elif type(message) is User:
            self._user(turn)
        else:
            assert type(message) is System
            self._system(turn, message)

    def _is_plain_step(self, message: Message) -> bool:
        """Return whether a message is a result, or calls behind one (a result follows them): nothing is done to these.

        It holds for nearly all of a long conversation, so it is asked first.
        """
        if type(message) is Tool:
            return True
        if type(message) is not Assistant or message.tool_calls is UNSET or self._one_or_other:
            return False
        return bool(self.placed) and type(self.placed[-1].message) is Tool

    def finish(self, *, continues: bool) -> list[Turn]:
        """Return all turns. `continues`: an assistant's last words are to be continued, not answered (R29)."""
        last = self._run[-1] if self._run else None
        if last is not None and type(last.message) is Assistant and last.message.tool_calls is UNSET:
            self.continues = continues or last.prefix
            if not self.continues:
                self._notes.repair(Rule.R29, "messages")
                self._user(Turn(User(SPACE), last.origin, made=True))
        self._close()
        if not self.placed:  # nothing that was said is left: still the model has to say something
            self._notes.repair(Rule.R21, "messages")
            self.placed.append(Turn(User(EMPTY), 0, made=True))
        return self.placed

    def _last(self) -> type | None:
        turns = self._run or self.placed
        return type(turns[-1].message) if turns else None

    def _system(self, turn: Turn, message: System) -> None:
        """R15: a system message that does not lead is told by the user, in its place."""
        before = self._last()
        if before is None or before is System or (before is User and not self._template):
            if before is System and self._template:
                self._notes.repair(Rule.R15, "messages", turn.origin)
            else:
                self._close()
            self._run.append(turn)
            return
        self._notes.lose(Rule.R15, "messages", turn.origin, "role")
        content = message.content if isinstance(message.content, Raw) else EMPTY
        if not is_text(content):
            content = encoded("\n\n".join(part.get("text") or part.get("thinking") or "" for part in as_parts(content)))
        self._user(Turn(User(content), turn.origin, made=True))

    def _user(self, turn: Turn) -> None:
        """R22: between a result and a user the assistant speaks."""
        if not self._follows(turn, User):
            self._close()
            if self._bridge and self._last() is Tool:
                self._notes.repair(Rule.R22, "messages", turn.origin)
                self.placed.append(Turn(Assistant(SPACE), turn.origin, made=True))
        self._run.append(turn)

    def _assistant(self, turn: Turn, message: Assistant) -> None:
        """R14: an assistant that says nothing is left out. R21: it does not begin. R23: it has text or calls."""
        has_calls = message.tool_calls is not UNSET
        if is_silent(message):
            self._notes.repair(Rule.R14, "messages", turn.origin)
            return
        if has_calls and self._one_or_other:
            turn = self._without_text(turn, message)
        follows = self._follows(turn, Assistant)
        if not follows:
            self._close()
            before = self._last()
            if (before is None and (has_calls or self._template)) or (before is System and self._template):
                self._notes.repair(Rule.R21, "messages", turn.origin)
                self.placed.append(Turn(User(EMPTY), turn.origin, made=True))
        self._run.append(turn)

    def _without_text(self, turn: Turn, message: Assistant) -> Turn:
        """R23: the text beside calls, or right before them, is left out."""
        if self._last() is Assistant:
            self._notes.lose(Rule.R23, "messages", self._run[0].origin, "content")
            self._run.clear()
        if not isinstance(message.content, Raw) or bytes(message.content) == b'""':
            return turn
        self._notes.lose(Rule.R23, "messages", turn.origin, "content")
        return Turn(Assistant(EMPTY, message.tool_calls), turn.origin, made=turn.made)

    def _follows(self, turn: Turn, kind: type) -> bool:
        """R16: return whether the turn becomes one message with those before it."""
        if not self._run or type(self._run[-1].message) is not kind:
            return False
        if not (self._joins or turn.made or self._run[-1].made):
            return False
        self._notes.repair(Rule.R16, "messages", turn.origin)
        return True

    def _close(self) -> None:
        """End the message that the last turns became."""
        run = self._run
        if len(run) == 1:
            self.placed.append(run[0])
        elif run:
            self.placed.append(_joined_turn(run))
        self._run = []


def _joined_turn(run: list[Turn]) -> Turn:
    """R16: one message of several; calls are the last one's, as results stand behind calls."""
    content = joined([turn.message.content for turn in run if isinstance(turn.message.content, Raw)])
    last = run[-1].message
    if type(last) is not Assistant:
        return Turn(User(content) if type(last) is User else System(content), run[0].origin, made=True)
    thoughts = [turn.message.reasoning for turn in run if type(turn.message) is Assistant]
    told = [thought for thought in thoughts if isinstance(thought, Raw)]
    return Turn(Assistant(content, last.tool_calls, joined(told) if told else UNSET), run[0].origin, made=True)
