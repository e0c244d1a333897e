"""What is known of each backend's dialect: what is configured, and what was found by asking it (see probing.py).

`dialect: auto` passes everything as it is until the backend was found to serve a model of the Mistral family.
What is found of a backend holds until it is asked again, when it comes up and when its version or models change.
"""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from router.translate.asked import AnswerForm, RequestForm
from router.translate.profile import STRICTEST, Profile

# vLLM before this one loses calls in streams, or damages their arguments (S16: vllm#20028, #17585, #19425).
FIRST_SOUND_VERSION = (0, 14)
LOSSES = 3  # streams in a row that look as if a call was lost in them


class StreamTools(enum.Enum):
    """Whether streams of requests with tools are made from whole answers (S16)."""

    AUTO = "auto"
    PASSTHROUGH = "passthrough"
    EMULATE = "emulate"


class Answers(enum.Enum):
    """Whose answers are made strictly OpenAI's."""

    AUTO = "auto"  # those of backends whose requests are translated
    STRICT = "strict"  # all
    AS_IS = "as_is"  # none


@dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration says of one backend."""

    dialect: str = "auto"  # auto, openai or mistral
    profile: Profile | None = None  # None: to be found
    stream_tools: StreamTools = StreamTools.AUTO


@dataclass(frozen=True, slots=True)
class Found:
    """What asking a backend has told."""

    is_mistral: bool
    profile: Profile = STRICTEST
    version: str | None = None  # of the server


@dataclass(frozen=True, slots=True)
class Known:
    """What holds for one backend now."""

    translates: bool = False  # requests
    repairs: bool = False  # answers
    emulates: bool = False  # streams of requests with tools
    profile: Profile = STRICTEST
    version: str | None = None


GONE = Known()  # of a backend that is not configured any more, whose last requests are finished


class Dialects:
    """The dialects of all backends, by their names."""

    def __init__(
        self,
        configured: Mapping[str, Configured],
        *,
        answers: Answers = Answers.AUTO,
        request_form: RequestForm = RequestForm(),  # noqa: B008  # immutable
        answer_form: AnswerForm = AnswerForm(),  # noqa: B008  # immutable
    ) -> None:
        """Nothing was found yet."""
        self.request_form = request_form
        self.answer_form = answer_form
        self._answers = answers
        self._configured = dict(configured)
        self._found: dict[str, Found] = {}
        self._losses: dict[str, int] = {}  # streams in a row that have lost a call, by backend
        self._known = {name: self._settle(name) for name in configured}
        self.any_translates = False
        self._look()

    def update(
        self,
        configured: Mapping[str, Configured],
        *,
        answers: Answers,
        request_form: RequestForm,
        answer_form: AnswerForm,
        strangers: Collection[str] = (),
    ) -> None:
        """Go by another configuration from now on; what was found of backends that stay is kept.

        `strangers`: names under which there is another server now, of which nothing is known.
        """
        self.request_form = request_form
        self.answer_form = answer_form
        self._answers = answers
        self._configured = dict(configured)
        for known in (self._found, self._losses):
            for name in [name for name in known if name not in configured or name in strangers]:
                del known[name]
        self._known = {name: self._settle(name) for name in configured}
        self._look()

    def of(self, backend: str) -> Known:
        """Return what holds for a backend; the strictest for one that is gone."""
        return self._known.get(backend, GONE)

    def wants_probe(self, backend: str) -> bool:
        """Return whether asking the backend could tell anything that the configuration leaves open."""
        configured = self._configured.get(backend)
        if configured is None:
            return False
        is_open = configured.profile is None or configured.stream_tools is StreamTools.AUTO
        return configured.dialect == "auto" or (configured.dialect == "mistral" and is_open)

    def found(self, backend: str, found: Found) -> bool:
        """Take what asking it has told; return whether it is something new. Nothing of one that is gone is."""
        if backend not in self._configured:
            return False
        before = self._found.get(backend)
        self._found[backend] = found
        self._losses.pop(backend, None)
        self._change(backend)
        return before != found

    def has_found(self, backend: str) -> bool:
        """Return whether anything was found of a backend."""
        return backend in self._found

    def streamed(self, backend: str, *, lost_call: bool) -> bool:
        """Take note of a whole stream with tools, and whether it looks as if a call was lost in it (S16).

        One alone may be a stop word at the very beginning; several in a row are a backend that swallows calls. Return
        whether that is known from now on.
        """
        if backend not in self._configured:
            return False
        losses = self._losses[backend] = self._losses.get(backend, 0) + 1 if lost_call else 0
        if losses != LOSSES:
            return False
        before = self._known[backend].emulates
        self._change(backend)
        return self._known[backend].emulates and not before

    def describe(self, backend: str) -> dict[str, str]:
        """Return what a status page tells of it; nothing of one that is gone."""
        if backend not in self._configured:
            return {}
        known = self._known[backend]
        told = {"dialect": "mistral" if known.translates else "openai"}
        if self._configured[backend].dialect == "auto" and backend not in self._found:
            told["dialect"] = "auto"  # it was not asked yet, and until then passes as it is
        if known.translates:
            told["profile"] = known.profile.describe()
        if known.translates or known.emulates:
            told["stream_tools"] = "emulate" if known.emulates else "passthrough"
        if known.version is not None:
            told["version"] = known.version
        return told

    def _change(self, backend: str) -> None:
        self._known[backend] = self._settle(backend)
        self._look()

    def _look(self) -> None:
        self.any_translates = any(known.translates for known in self._known.values())

    def _settle(self, backend: str) -> Known:
        configured = self._configured[backend]
        found = self._found.get(backend)
        is_mistral = configured.dialect == "mistral" or (
            configured.dialect == "auto" and found is not None and found.is_mistral
        )
        repairs = self._answers is Answers.STRICT or (is_mistral and self._answers is Answers.AUTO)
        version = None if found is None else found.version
        numbers = numbers_of(version)
        swallows = self._losses.get(backend, 0) >= LOSSES or (numbers is not None and numbers < FIRST_SOUND_VERSION)
        wants = configured.stream_tools
        if not is_mistral:
            return Known(repairs=repairs, emulates=wants is StreamTools.EMULATE, version=version)
        profile = configured.profile or (STRICTEST if found is None else found.profile)
        if found is not None and profile.max_model_len is None:
            profile = replace(profile, max_model_len=found.profile.max_model_len)
        emulates = wants is StreamTools.EMULATE or (wants is StreamTools.AUTO and swallows)
        return Known(translates=True, repairs=repairs, emulates=emulates, profile=profile, version=version)


def numbers_of(version: str | None) -> tuple[int, int] | None:
    """Return the first two numbers of a version as "0.12.0"; None where they are not understood."""
    numbers = (version or "").split(".")[:2]
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return None
    return int(numbers[0]), int(numbers[1])
