"""Whether the process has too much at work to begin more: watermarks of memory and of file descriptors. Pure.

Above a mark new exchanges are refused, so that those under way can finish; below `REST` of it they are taken again. One
is always let in when nothing is at work: what is left of the memory then is nobody's work, and refusing would not help.
"""

import enum
from dataclasses import dataclass

REST = 0.95  # share of a mark below which it is well again: at the mark itself it would change with every look


class Strain(enum.Enum):
    """What there is too little of."""

    MEMORY = "memory"
    DESCRIPTORS = "descriptors"


@dataclass(frozen=True, slots=True)
class Marks:
    """How much may be in use; None: any amount."""

    memory: int | None = None  # bytes of this process
    descriptors: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in use."""

    memory: int  # bytes
    descriptors: int


class Watermarks:
    """Remembers what there is too much of."""

    def __init__(self, marks: Marks) -> None:
        """All is well at first."""
        self.marks = marks
        self.strain: Strain | None = None

    def observe(self, usage: Usage) -> bool:
        """Take in what is in use now; return whether that has changed what new exchanges are told."""
        before = self.strain
        memory = self._is_over(self.marks.memory, usage.memory, was_over=before is Strain.MEMORY)
        descriptors = self._is_over(self.marks.descriptors, usage.descriptors, was_over=before is Strain.DESCRIPTORS)
        self.strain = Strain.MEMORY if memory else Strain.DESCRIPTORS if descriptors else None
        return self.strain is not before

    def _is_over(self, mark: int | None, used: int, *, was_over: bool) -> bool:
        return mark is not None and used > (mark * REST if was_over else mark)


def refuses(strain: Strain | None, *, at_work: int) -> Strain | None:
    """Return why a new exchange is refused, None where it is taken; `at_work`: exchanges under way beside it."""
    return strain if at_work > 0 else None
