"""Simulation of one strategy on one recording with one seed."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

from evoflash import proposers
from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.status import Status
from evoflash.replay.recording import Recording

MAX_REPEATS = 20  # repeated proposals after which a strategy is stopped, as a multiple of its evaluations


@dataclass(frozen=True)
class Trace:
    """The result of a simulation.

    Attributes:
        best_us: the best time after 1, 2, 3 … evaluations; infinity while there is none.
        operators: the operator of each evaluated candidate.
        proposal_ms: mean time of a proposal in milliseconds.
        seconds: what building and measuring the first 1, 2, 3 … of them took, one after another, as recorded.
    """

    strategy: str
    space: str
    seed: int
    best_us: tuple[float, ...]
    operators: tuple[str, ...]
    proposal_ms: float
    seconds: tuple[float, ...]


def simulate(strategy: str, recording: Recording, seed: int, evaluations: int, window: int = 1) -> Trace:
    """Runs a strategy as in a search, with results from the recording.

    A failed configuration counts as an evaluation. A repeated one does not, but a strategy is stopped when it repeats
    itself `MAX_REPEATS` times as often as it may evaluate.

    Args:
        window: proposals in flight; with 1, each result is reported before the next proposal.
    """
    proposer, archive = proposers.create(strategy, recording.spaces, seed), Archive()
    in_flight: deque[Proposal] = deque()
    operators: list[str] = []
    best, curve, repeats_left, spent_s = math.inf, [], MAX_REPEATS * evaluations, 0.0
    cost_s, costs_s = 0.0, []
    while len(archive) < evaluations:
        started = time.process_time()
        proposal = proposer.ask(archive) if len(archive) + len(in_flight) < evaluations else None
        spent_s += time.process_time() - started
        if proposal is not None and archive.has(proposal.family, proposal.genome):
            repeats_left -= 1
            if repeats_left > 0:
                continue
            proposal = None
        if proposal is not None:
            archive.propose(proposal.family, proposal.genome)
            in_flight.append(proposal)
            if len(in_flight) < window:
                continue
        if not in_flight:
            break  # nothing is left to propose
        finished = in_flight.popleft()
        evaluation = recording.results[finished.family, finished.genome.digest]
        member = archive.add(finished.numbered(len(archive)), evaluation)
        started = time.process_time()
        proposer.tell(member)
        spent_s += time.process_time() - started
        if evaluation.status is Status.OK:
            best = min(best, member.fitness_us)
        curve.append(best)
        cost_s += evaluation.spent_seconds
        costs_s.append(cost_s)
        operators.append(finished.operator)
    missing = evaluations - len(curve)
    cost_ms = 1e3 * spent_s / max(1, len(operators))
    return Trace(
        strategy,
        recording.name,
        seed,
        (*curve, *[best] * missing),
        tuple(operators),
        cost_ms,
        (*costs_s, *[cost_s] * missing),
    )
