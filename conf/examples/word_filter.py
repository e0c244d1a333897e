"""An example of a middleware: refuses prompts with certain words, adds a header, and blots the words out of answers.

    PYTHONPATH=conf/examples devstral-router serve --config conf/examples/middlewares.yaml
"""

import re
from dataclasses import replace

from router.middleware import Call, Middleware, Refusal, Request


class WordFilter(Middleware):
    """The constructor's parameters are the options: `devstral-router check` knows them, with their types."""

    def __init__(self, words: list[str], blot: bool = True, team: str | None = None) -> None:
        if not all(words):
            raise ValueError("an empty word is in everything")
        self.words = re.compile(b"|".join(re.escape(word.encode()) for word in words) or rb"(?!)", re.IGNORECASE)
        self.blot = blot
        self.team = team

    def on_request(self, call: Call, request: Request) -> Request | None:
        """Refuse a prompt that holds one of the words; name the team to the backend."""
        if self.words.search(request.body):
            raise Refusal("This prompt holds a word that may not leave the house.", status=403, code="word_not_allowed")
        if self.team is None:
            return None
        return replace(request, headers=(*request.headers, ("X-Team", self.team)))

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        """Blot the words out of events and bodies; a word that two events share is not found so."""
        if not self.blot or not self.words.search(data):
            return None
        return self.words.sub(lambda found: b"*" * len(found[0]), data)
