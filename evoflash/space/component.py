"""An independent component of a space: parameters that share no constraint with the others."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence

from evoflash.core.genome import Gene
from evoflash.space.constraints import Check, Validity
from evoflash.space.decision_diagram import Diagram, build, checks_by_place

DRAWS = 2000  # draws from the diagram before an exhaustive search for values that satisfy the widest constraints too
FILL_DRAWS = 100  # the same for values with some genes fixed
MAX_CACHED_DIAGRAMS = 64  # cached diagrams with some genes fixed, since a few parents are moved many times


class Component:
    """The parameters of one independent component.

    Args:
        names: the parameters, in the order of the declaration.
        checks: the checks on these parameters, ordered by the number of parameters that they read.
        validity: the validity of the space.
    """

    def __init__(self, names: Sequence[str], checks: Sequence[Check], validity: Validity):
        self.names = names
        self.checks = checks
        self._validity = validity
        self._domains = {name: validity.domains[name] for name in names}
        self._restricted: dict[tuple[object, ...], Diagram] = {}  # fixed genes -> diagram of the valid values with them

    def draw(self, rng: random.Random) -> dict[str, Gene]:
        """Uniformly random valid values; after many failed draws, the result of an exhaustive search."""
        drawn = self._drawn(self._diagram, rng, DRAWS)
        return (
            drawn
            or next(self._validity.complete(rng, {}, self.names, self.checks), None)
            or self._validity.raise_empty(rng)
        )

    def fill(self, kept: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene] | None:
        """Uniformly random valid values that include the kept ones; None after some failed draws."""
        if len(kept) == len(self.names):
            return dict(kept) if self._validity.holds(self.checks, kept) else None
        key = tuple((name, type(value), value) for name, value in kept.items())
        if key not in self._restricted:
            if len(self._restricted) >= MAX_CACHED_DIAGRAMS:
                self._restricted.clear()
            self._restricted[key] = self._diagram.restricted(kept)
        return self._drawn(self._restricted[key], rng, FILL_DRAWS)

    def _drawn(self, diagram: Diagram, rng: random.Random, tries: int) -> dict[str, Gene] | None:
        for _ in range(tries if diagram.count else 0):
            genes = diagram.draw(rng)
            if self._validity.holds(self.checks, genes):
                return {name: genes[name] for name in self.names}
        return None

    def repair(self, genes: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene]:
        """Valid values that differ from these in one gene or, failing that, in two; otherwise any valid values."""
        broken = [set(check.reads) for check in self.checks if not self._validity.may_hold([check], genes)]
        suspects = sorted(set().union(*broken))
        rng.shuffle(suspects)
        pairs = list(itertools.combinations(suspects, 2))
        rng.shuffle(pairs)
        for freed in [*((name,) for name in suspects), *pairs]:
            if all(reads.intersection(freed) for reads in broken):  # otherwise one of them stays violated
                checks = checks_by_place(freed, self.checks)
                for changed in self._changed(list(zip(freed, checks, strict=True)), dict(genes), rng):
                    if self._validity.holds(self.checks, changed):
                        return changed
        return self.draw(rng)

    def _changed(
        self, names: Sequence[tuple[str, Sequence[Check]]], genes: dict[str, Gene], rng: random.Random
    ) -> Iterator[dict[str, Gene]]:
        """The genes with the named ones changed to other values, in random order, pruned by each name's checks."""
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
        """The diagram of the component, built on first use, which may take a tenth of a second."""
        return build(self._domains, self.checks, self._validity.may_hold)
