"""A group of parameters that no constraint ties to others: its valid values, drawn, completed and repaired."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from evoflash.core.genome import Gene
from evoflash.space.constraints import Check, Validity
from evoflash.space.decision_diagram import Diagram, build, due

DRAWS = 2000  # of which one should satisfy the widest constraints, too, before the complete search for valid values
FILLS = 100  # the same beside genes that are kept
FILLINGS = 64  # diagrams of what fits kept genes that are remembered: a few parents are moved many times


class Group:
    """Some parameters of a space.

    Args:
        names: in the order of the declaration.
        checks: on these parameters, those that read least first.
        validity: of the space.
    """

    def __init__(self, names: Sequence[str], checks: Sequence[Check], validity: Validity):
        self.names = names
        self.checks = checks
        self._validity = validity
        self._domains = {name: validity.domains[name] for name in names}
        self._fillings: dict[tuple[object, ...], Diagram] = {}  # what fits kept genes

    def draw(self, rng: random.Random) -> dict[str, Gene]:
        """Valid values, uniformly; where many draws find nothing, by a complete search."""
        drawn = self._drawn(self._diagram, rng, DRAWS)
        return (
            drawn
            or next(self._validity.complete(rng, {}, self.names, self.checks), None)
            or self._validity.raise_empty(rng)
        )

    def fill(self, kept: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene] | None:
        """Valid values with those that are kept, uniformly; None where some draws find none."""
        if len(kept) == len(self.names):
            return dict(kept) if self._validity.holds(self.checks, kept) else None
        key = tuple((name, type(value), value) for name, value in kept.items())
        if key not in self._fillings:
            if len(self._fillings) >= FILLINGS:
                self._fillings.clear()
            self._fillings[key] = self._diagram.given(kept)
        return self._drawn(self._fillings[key], rng, FILLS)

    def _drawn(self, diagram: Diagram, rng: random.Random, tries: int) -> dict[str, Gene] | None:
        for _ in range(tries if diagram.count else 0):
            genes = diagram.draw(rng)
            if self._validity.holds(self.checks, genes):
                return {name: genes[name] for name in self.names}
        return None

    def repair(self, genes: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene]:
        """Valid values that differ from these in one gene, else in two; where there are none, any."""
        broken = [set(check.reads) for check in self.checks if not self._validity.may_hold([check], genes)]
        suspects = sorted(set().union(*broken))
        rng.shuffle(suspects)
        pairs = list(itertools.combinations(suspects, 2))
        rng.shuffle(pairs)
        for freed in [*((name,) for name in suspects), *pairs]:
            if all(reads.intersection(freed) for reads in broken):  # else one of them stays broken
                checks = due(freed, self.checks)
                for changed in self._changed(list(zip(freed, checks, strict=True)), dict(genes), rng):
                    if self._validity.holds(self.checks, changed):
                        return changed
        return self.draw(rng)

    def _changed(
        self, names: Sequence[tuple[str, Sequence[Check]]], genes: dict[str, Gene], rng: random.Random
    ) -> Iterator[dict[str, Gene]]:
        """The genes with any values of some names, each with checks that must hold from there on; in random order."""
        if not names:
            yield genes
            return
        (name, checks), *others = names
        for value in rng.sample(self._domains[name], len(self._domains[name])):
            changed = {**genes, name: value}
            if self._validity.may_hold(checks, changed):
                yield from self._changed(others, changed, rng)

    @functools.cached_property
    def _diagram(self) -> Diagram:
        """Made when the group is first drawn from: that may take a tenth of a second."""
        return build(self._domains, self.checks, self._validity.may_hold)
