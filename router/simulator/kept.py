"""Answers that were worked out before, by the request's bytes: the same request again costs a look-up.

Both the number of answers and the size of each are bounded; the one that was not asked for longest goes first.
"""

from collections import OrderedDict

from router.simulator.answers import Answer

_MOST_ANSWERS = 128
_LONGEST_REQUEST = 256 * 1024  # bytes
_LONGEST_ANSWER = 1024  # moments; about 250 bytes each

Key = tuple[str, str, bytes]  # path, content type, body


class KeptAnswers:
    """A bounded map from requests to their answers."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Key, Answer] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._answers)

    def get(self, key: Key) -> Answer | None:
        """Return the answer to a request, if it is kept."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer, if neither it nor its request is too long."""
        if len(key[2]) > _LONGEST_REQUEST or answer.moments > _LONGEST_ANSWER:
            return
        self._answers[key] = answer
        if len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)
