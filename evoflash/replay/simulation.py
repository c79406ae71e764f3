"""One strategy on one recording by one seed."""

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

REPEATS = 20  # proposals of what is known already, as a multiple of the evaluations, until a strategy is stopped


@dataclass(frozen=True)
class Trace:
    """What a replay found.

    Attributes:
        best_us: the best time after 1, 2, 3 … evaluations; infinity while there is none.
        operators: what made the candidate of each evaluation.
        proposal_ms: milliseconds that the strategy took for a proposal, on average.
    """

    strategy: str
    space: str
    seed: int
    best_us: tuple[float, ...]
    operators: tuple[str, ...]
    proposal_ms: float


def simulate(strategy: str, recording: Recording, seed: int, evaluations: int, window: int = 1) -> Trace:
    """Runs a strategy as a search does, with results from the recording.

    A failed configuration costs an evaluation. A repeated one costs none, but a strategy that repeats itself
    `REPEATS` times as often as it may evaluate is stopped.

    Args:
        window: proposals in flight; 1 tells each result before the next proposal.
    """
    proposer, archive = proposers.create(strategy, recording.spaces, seed), Archive()
    in_flight: deque[Proposal] = deque()
    operators: list[str] = []
    best, curve, patience, spent_s = math.inf, [], REPEATS * evaluations, 0.0
    while len(archive) < evaluations:
        started = time.process_time()
        proposal = proposer.ask(archive) if len(archive) + len(in_flight) < evaluations else None
        spent_s += time.process_time() - started
        if proposal is not None and archive.has(proposal.family, proposal.genome):
            patience -= 1
            if patience > 0:
                continue
            proposal = None
        if proposal is not None:
            archive.propose(proposal.family, proposal.genome)
            in_flight.append(proposal)
            if len(in_flight) < window:
                continue
        if not in_flight:
            break  # nothing is left to propose
        told = in_flight.popleft()
        evaluation = recording.results[told.family, told.genome.digest]
        member = archive.add(told.numbered(len(archive)), evaluation)
        started = time.process_time()
        proposer.tell(member)
        spent_s += time.process_time() - started
        if evaluation.status is Status.OK:
            best = min(best, member.fitness_us)
        curve.append(best)
        operators.append(told.operator)
    curve += [best] * (evaluations - len(curve))
    cost_ms = 1e3 * spent_s / max(1, len(operators))
    return Trace(strategy, recording.name, seed, tuple(curve), tuple(operators), cost_ms)
