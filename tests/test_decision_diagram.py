"""Decision diagrams: the genomes that they hold, how they are drawn, and what is left outside."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from evoflash.space import decision_diagram

DOMAINS = {"a": [1, 2, 3, 4], "b": [1, 2, 4], "on": [False, True], "c": ["x", "y", "z"]}


@dataclass(frozen=True)
class Rule:
    reads: tuple[str, ...]
    holds: Callable[..., bool]


RULES = (
    Rule(("a", "b"), lambda a, b: a * b <= 8),
    Rule(("a", "on"), lambda a, on: on or a != 3),
    Rule(("b", "c", "on"), lambda b, c, on: c == "x" or (on and b > 1)),
)


def may_hold(rules, genes):
    return all(rule.holds(*(genes[name] for name in rule.reads)) for rule in rules)


def valid(rules=RULES, **kept):
    every = (dict(zip(DOMAINS, values, strict=True)) for values in itertools.product(*DOMAINS.values()))
    return [each for each in every if may_hold(rules, each) and kept.items() <= each.items()]


def drawn(made, count=4000):
    rng = random.Random(1)
    return Counter(tuple(sorted(made.draw(rng).items())) for _ in range(count))


def test_it_holds_what_is_valid_each_as_likely_as_any_other():
    made, wanted = decision_diagram.build(DOMAINS, RULES, may_hold), valid()
    assert made.count == len(wanted)
    counts = drawn(made)
    assert set(counts) == {tuple(sorted(each.items())) for each in wanted}
    share = 4000 / len(wanted)
    assert all(abs(count - share) < 5 * share**0.5 for count in counts.values())


@pytest.mark.parametrize("kept", [{"a": 4}, {"c": "y", "on": True}, {"a": 3, "b": 2, "on": True, "c": "z"}])
def test_some_genes_are_kept(kept):
    made = decision_diagram.build(DOMAINS, RULES, may_hold).restricted(kept)
    assert made.count == len(valid(**kept))
    assert set(drawn(made)) == {tuple(sorted(each.items())) for each in valid(**kept)}


def test_kept_genes_beside_which_nothing_is_valid():
    made = decision_diagram.build(DOMAINS, RULES, may_hold)
    assert made.restricted({"a": 4, "b": 4}).count == 0
    assert made.restricted({"on": 1}).count == 0  # True is another gene


def test_what_reads_much_is_left_to_the_caller(monkeypatch):
    monkeypatch.setattr(decision_diagram, "MAX_READS", 2)
    assert decision_diagram.build(DOMAINS, RULES, may_hold).count == len(valid(RULES[:2]))


def test_a_diagram_that_would_be_too_large_has_fewer_constraints(monkeypatch):
    monkeypatch.setattr(decision_diagram, "MAX_EDGES", 30)
    made = decision_diagram.build(DOMAINS, RULES, may_hold)
    assert made.count in (len(valid(RULES[:2])), len(valid(())))
    monkeypatch.setattr(decision_diagram, "MAX_EDGES", 1)
    assert decision_diagram.build(DOMAINS, RULES, may_hold).count == len(valid(())) == 72


def test_nothing_is_valid():
    assert decision_diagram.build(DOMAINS, [Rule(("a",), lambda a: a > 9)], may_hold).count == 0


def test_more_genomes_than_a_machine_word_counts():
    domains = {f"p{number}": list(range(10)) for number in range(30)}
    made = decision_diagram.build(domains, [Rule(("p0", "p1"), lambda a, b: a < b)], may_hold)
    assert made.count == 45 * 10**28
    drawn = made.draw(random.Random(0))
    assert drawn["p0"] < drawn["p1"]
