"""Random spaces, whatever is in them: a space, or one error that says what to fix. `pytest -m long` tries 10,000."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evoflash.core.genome import Genome
from evoflash.errors import SpaceError, UsageError
from evoflash.space import declaration
from evoflash.space.search_space import SearchSpace
from tests.fuzz.spaces import documents, values

PROBLEM, DEVICE = {"rows": 64, "dtype": "float16"}, {"cores": 2}
relaxed = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def said(error: Exception, words: str, outcome: str) -> str:
    """The outcome, if the error says what it must."""
    if not re.search(words, str(error)):
        raise AssertionError(f"an error without advice: {error}") from error
    return outcome


def lived_through(path: Path, document: dict[str, Any], seed: int) -> str:
    """Reads a space and makes every move in it; how far it came. Anything but an error for the user is raised."""
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        declared = declaration.read(path)
    except UsageError as error:
        return said(error, r"space\.yaml|expression", "refused")
    rng = random.Random(seed)
    try:
        space = SearchSpace(declared, [PROBLEM], DEVICE)
        genome = space.sample(rng)
    except SpaceError as error:
        empty = "has no valid genome" in str(error)
        return said(error, "; |choose another family", "empty" if empty else "cannot be evaluated")
    try:
        moved = [genome, space.sample(rng)]
        moved += [space.mutate(genome, rng, rng.randint(1, 3)), space.crossover(genome, moved[1], rng)]
        moved += [space.repair({"a": "no value", "stranger": 1}, rng), space.repair({}, rng), *space.neighbours(genome)]
        for each in moved:
            assert space.violations(each) == []
            assert space.is_valid(each)
            assert Genome(dict(each)) == each
            space.derived(each)
    except SpaceError as error:  # an expression that fails on some values only
        return said(error, "fails|which is undefined", "cannot be evaluated everywhere")
    return "searched"


FLAG = {"family": "random", "parameters": {"a": {"kind": "flag"}}, "constraints": []}


@settings(relaxed, max_examples=200)
@given(documents(), st.integers(0, 2**32))
@example(document={**FLAG, "derived": {"total": "problem.a"}}, seed=0)
def test_a_random_space_is_searched_or_refused(tmp_path_factory, document, seed):
    lived_through(tmp_path_factory.getbasetemp() / "space.yaml", document, seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_random_spaces(tmp_path_factory):
    counts: Counter[str] = Counter()

    @settings(relaxed, max_examples=10_000, derandomize=False, database=None)
    @given(documents(), st.integers(0, 2**32))
    def trial(document, seed):
        counts[lived_through(tmp_path_factory.getbasetemp() / "space.yaml", document, seed)] += 1

    trial()
    print(dict(counts))
    assert counts.total() >= 10_000
    assert counts["searched"] >= 1000


@settings(relaxed, max_examples=100)
@given(documents(), st.dictionaries(st.text(max_size=8), values, max_size=6), st.integers(0, 2**32))
def test_repair_of_anything_ends_valid(tmp_path_factory, document, genes, seed):
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    try:
        space = SearchSpace(declaration.read(path), [PROBLEM], DEVICE)
        repaired = space.repair({**dict.fromkeys(space.parameters, 1), **genes}, random.Random(seed))
    except UsageError:
        return
    assert space.violations(repaired) == []


@settings(relaxed, max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.floats(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
                    max_leaves=8))  # fmt: skip
def test_any_yaml_at_all_is_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UsageError, match=r"space\.yaml"):
        declaration.read(path)


@settings(relaxed, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_at_all_are_refused_in_words(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"space\.yaml"):
        declaration.read(path)
