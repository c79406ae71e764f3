"""Who won: the finalists' times beside the baselines', and what is no difference."""

from __future__ import annotations

from collections.abc import Mapping

from evoflash.core.finals import Contestant, Final, Finals
from evoflash.core.statistics import Ratio, paired_ratio
from evoflash.core.status import Status
from evoflash.evaluator.messages import Raced, Verified

PLAIN_BASELINE = "sdpa-math"
Cost = tuple[int, ...]


def name_of(index: int) -> str:
    """A finalist's name in a race."""
    return f"candidate {index}"


def podium(verdicts: Mapping[int, Verified], costs: Mapping[int, Cost], raced: Raced) -> Finals:
    """The finalists, the winner first, with their ratios against each baseline.

    The fastest and all that do not differ from it significantly (`Ratio.is_significant`) are tied: of these the
    simplest wins, the one with the least cost.

    Args:
        costs: what a finalist takes, compared from left to right.
    """
    times = {each.name: each for each in raced.contestants}
    names = {name_of(index) for index in verdicts}
    baselines = sorted((each for each in raced.contestants if each.name not in names), key=lambda each: each.p50_us)
    finalists = [
        _final(index, verdict, times.get(name_of(index)), baselines, raced) for index, verdict in verdicts.items()
    ]
    finalists.sort(key=lambda each: (each.status is not Status.OK, each.time.p50_us if each.time else float("inf")))
    return Finals(
        finalists=tuple(settled(finalists, costs)),
        baselines=tuple(baselines),
        baseline_failures=raced.failures,
        rounds=max((len(each.samples) for each in raced.contestants), default=0),
        conditions=raced.conditions,
    )


def tied(fastest: Contestant, other: Contestant) -> Ratio | None:
    """How many times slower the other is, if that cannot be told from 1; else None."""
    ratio = paired_ratio(other.samples, fastest.samples)
    return ratio if not ratio.is_significant or ratio.value <= 1 else None


def _final(index: int, verdict: Verified, time: Contestant | None, baselines: list[Contestant], raced: Raced) -> Final:
    ratios = {each.name: paired_ratio(each.samples, time.samples) for each in baselines} if time is not None else {}
    best = baselines[0].name if baselines else None
    return Final(
        index=index,
        status=verdict.status,
        reason=verdict.reason,
        cases=len(verdict.accuracy),
        refused=verdict.refused,
        accuracy=verdict.accuracy,
        time=time,
        cold=raced.cold.get(name_of(index)),
        ratios=ratios,
        vs_best=ratios.get(best) if best else None,
        best_baseline=best,
        vs_math=ratios.get(PLAIN_BASELINE),
    )


def settled(finalists: list[Final], costs: Mapping[int, Cost]) -> list[Final]:
    """Finalists, the fastest first, with the simplest of those that are tied with it in front, and the word of it."""
    passed = [each for each in finalists if each.status is Status.OK and each.time is not None]
    if not passed or passed[0].time is None:
        return finalists
    fastest, group = passed[0].time, {passed[0].index: passed[0]}
    for each in passed[1:]:
        ratio = tied(fastest, each.time) if each.time is not None else None
        if ratio is not None:
            words = f"tied with the fastest: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
            group[each.index] = each.model_copy(update={"reason": words})
    winner = min(group, key=lambda index: costs[index])
    if winner != passed[0].index:
        reason = f"{group[winner].reason}; taken, since it is the simplest"
        group[winner] = group[winner].model_copy(update={"reason": reason})
    ranked = [group.get(each.index, each) for each in finalists]
    ranked.sort(key=lambda each: each.index != winner)
    return ranked
