"""Faults among the candidates of a soak: genomes whose launch hangs, crashes the worker or uses an illegal address."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate, Proposal
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status

GENE, NONE = "fault", "none"
VERDICTS = {"hang": Status.HUNG, "crash": Status.CRASHED, "illegal_address": Status.CRASHED}
BLAMELESS = (Status.OK, Status.DUPLICATE)  # of a genome without a fault


class Injector:
    """Makes one of `every` proposals a genome with a fault; the kinds take turns."""

    def __init__(self, every: int):
        self._every = every
        self._asked = 0
        self._kinds = itertools.cycle(VERDICTS)
        self._rng = random.Random(0)

    def wrapped(self, ask: Callable[..., Proposal | None]) -> Callable[..., Proposal | None]:
        """A proposer's `ask` with faults among its answers."""

        def answer(proposer: Any, archive: Archive) -> Proposal | None:
            self._asked += 1
            return ask(proposer, archive) if self._asked % self._every else self._faulty(proposer, archive)

        return answer

    def _faulty(self, proposer: Any, archive: Archive) -> Proposal:
        """A new genome with the next fault.

        Raises:
            RuntimeError: when all of them have been tried.
        """
        ((family, space),) = proposer._spaces.items()
        kind = next(self._kinds)
        for _ in range(10_000):
            genome = space.repair({GENE: kind}, self._rng)
            if not archive.has(family, genome):
                return Proposal(family, genome, "injected")
        raise RuntimeError(f"every genome of {family} with the fault {kind} has been tried; inject fewer by --faults")


class Tally:
    """How the faults of a search ended, and who failed without one."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self.unexpected: list[str] = []

    def add(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Counts a result."""
        kind = str(candidate.genome.get(GENE, NONE))
        wanted = (VERDICTS[kind],) if kind != NONE else BLAMELESS
        if kind != NONE:
            self._ended[kind, evaluation.status] += 1
        if GENE in candidate.genome and evaluation.status not in wanted:
            self.unexpected.append(f"{candidate.index} ({kind}): {evaluation.status}, {evaluation.reason}")

    @property
    def ended(self) -> dict[str, dict[str, int]]:
        """Statuses of each kind, with their numbers."""
        return {
            kind: {status: count for (of, status), count in sorted(self._ended.items()) if of == kind}
            for kind in VERDICTS
        }
