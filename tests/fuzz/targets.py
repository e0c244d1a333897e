"""All targets, by name."""

from tests.fuzz import answers, envelopes, events, relayed, requests, translations
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET for module in (requests, answers, relayed, events, envelopes, translations)
}
