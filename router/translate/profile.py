"""What a dialect must know of one backend: how it renders a conversation into a prompt, and what it then refuses.

What is not known counts as the strictest: a request that suits the strictest backend suits all.
"""

import enum
from dataclasses import dataclass, field, replace


class Renderer(enum.Enum):
    """Who turns messages into a prompt at the backend."""

    MISTRAL_COMMON = "mistral-common"  # vLLM's --tokenizer-mode mistral
    TEMPLATE = "template"  # a chat template of Hugging Face; Mistral's own insist on alternating roles


@dataclass(frozen=True, slots=True)
class Profile:
    """One backend, as the Mistral dialect sees it. None: not known."""

    renderer: Renderer | None = None
    version: int | None = None  # of the tokenizer: 1, 2, 3, 7, 11, 13, 15
    vision: bool | None = None  # it takes images
    thinking: bool | None = None  # it has [THINK] tokens, so reasoning may stay in the history (R10)
    nine_ids: bool = True  # ids of tool calls must be nine letters or digits (R3)
    bridge: bool = True  # between a tool result and a user message an assistant must speak (R22)
    strict_tools: bool = False  # `strict` of a function is understood (R24)
    max_model_len: int | None = None  # tokens
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the hash: it is asked for with every request."""
        known = (self.renderer, self.version, self.vision, self.thinking, self.nine_ids, self.bridge, self.strict_tools)
        object.__setattr__(self, "_hash", hash((*known, self.max_model_len)))

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash

    @property
    def is_mistral_common(self) -> bool:
        """Return whether mistral-common is known to render."""
        return self.renderer is Renderer.MISTRAL_COMMON

    @property
    def may_be_template(self) -> bool:
        """Return whether a chat template may render, so that its stricter order of roles must be kept."""
        return self.renderer is not Renderer.MISTRAL_COMMON

    @property
    def may_be_mistral_common(self) -> bool:
        """Return whether mistral-common may render, so that what it refuses must not be sent."""
        return self.renderer is not Renderer.TEMPLATE

    def describe(self) -> str:
        """Return it in a few words, for a status page: "mistral-common v13, text only, thinking"."""
        renderer = "renderer unknown" if self.renderer is None else self.renderer.value
        words = [renderer if self.version is None else f"{renderer} v{self.version}"]
        if self.vision is not None:
            words.append("vision" if self.vision else "text only")
        if self.thinking:
            words.append("thinking")
        if not self.nine_ids:
            words.append("free ids")
        if not self.bridge:
            words.append("no bridge")
        if self.strict_tools:
            words.append("strict tools")
        return ", ".join(words)


STRICTEST = Profile()


def _mistral(version: int, *, thinking: bool = False) -> Profile:
    return Profile(Renderer.MISTRAL_COMMON, version, thinking=thinking)


# What may be configured as `profile`, besides what probing finds.
PRESETS: dict[str, Profile] = {
    "strictest": STRICTEST,
    "template": Profile(Renderer.TEMPLATE),
    **{f"v{version}": _mistral(version) for version in (1, 2, 3, 7, 11, 13, 15)},
    "v13-think": _mistral(13, thinking=True),
}

_WORDS: dict[str, dict[str, bool]] = {
    "vision": {"vision": True},
    "text only": {"vision": False},
    "thinking": {"thinking": True},
    "free ids": {"nine_ids": False},
    "no bridge": {"bridge": False},
    "strict tools": {"strict_tools": True},
}


def parse_profile(text: str) -> Profile:
    """Return the profile of this name among `PRESETS`, or the one that `describe` tells so.

    Raises ValueError, with what would be understood, for any other text.
    """
    if text in PRESETS:
        return PRESETS[text]
    words = [word.strip() for word in text.split(",")]
    first, _, version = words[0].partition(" v")
    renderers = {"renderer unknown": None, **{renderer.value: renderer for renderer in Renderer}}
    unknown = next((word for word in words[1:] if word not in _WORDS), None)
    if first not in renderers or (version and not version.isdecimal()) or unknown is not None:
        known = ", ".join(PRESETS)
        raise ValueError(f"{text!r} is no profile; known are {known}, and what /health tells as a backend's profile")
    properties = {name: value for word in words[1:] for name, value in _WORDS[word].items()}
    return replace(Profile(renderers[first], int(version) if version else None), **properties)  # type: ignore[arg-type]
