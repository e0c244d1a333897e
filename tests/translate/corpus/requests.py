"""All requests of the corpus."""

from tests.translate.corpus import assistants, calls, ids, messages, order, parameters, parts, tools
from tests.translate.corpus.case import Case

CASES: list[Case] = [
    *messages.CASES,
    *assistants.CASES,
    *calls.CASES,
    *ids.CASES,
    *order.CASES,
    *parts.CASES,
    *tools.CASES,
    *parameters.CASES,
]
ACCEPTED = [case for case in CASES if case.refused is None]
REFUSED = [case for case in CASES if case.refused is not None]
