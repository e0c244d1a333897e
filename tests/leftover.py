"""What is left of what a test has made, apart from what other tests of the process still hold (in fixtures, say)."""

import gc


class Leftover:
    """Objects of some kinds that are made after this one."""

    def __init__(self, *kinds: type) -> None:
        """What of these exact kinds there is by now counts as others'."""
        self._kinds = kinds
        gc.collect()
        self._others = self._all()  # held, so that no new one takes the place of one of them

    def _all(self) -> list[object]:
        return [each for each in gc.get_objects() if type(each) in self._kinds]

    def found(self) -> list[object]:
        """Return those that were made since and are still there."""
        others = set(map(id, self._others))
        return [each for each in self._all() if id(each) not in others]
