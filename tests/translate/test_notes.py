"""What is noted of changes."""

from router.translate.notes import Notes, Rule


def test_every_rule_has_its_id_once() -> None:
    requests = [f"R{number}" for number in range(1, 38)]
    answers = [f"S{number}" for number in range(1, 25)]

    assert [rule.name for rule in Rule] == requests + answers
    assert len({rule.value for rule in Rule}) == len(Rule), "enums make one of two members with equal values"


def test_a_loss_is_a_change_too() -> None:
    notes = Notes()

    notes.repair(Rule.R3, "messages", 1)
    notes.lose(Rule.R10, "messages", 2)

    assert notes.repaired == {Rule.R3, Rule.R10}
    assert notes.lost == {Rule.R10}
    assert notes.steps is None


def test_places_are_noted_where_an_explanation_is_wanted() -> None:
    notes = Notes(explain=True)

    notes.repair(Rule.R3, "messages", 1, "tool_calls", 0, "id")
    notes.lose(Rule.R9, "messages.2")

    assert notes.steps == [(Rule.R3, "messages.1.tool_calls.0.id", False), (Rule.R9, "messages.2", True)]


def test_ids_come_in_the_order_of_the_rules() -> None:
    assert Notes().ids({Rule.R23, Rule.S1, Rule.R3, Rule.R10}) == "R3,R10,R23,S1"
