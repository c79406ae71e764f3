"""Who won: the finalists' times beside the baselines', on one shape or several, and what is no difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evoflash.core.evaluation import Accuracy
from evoflash.core.finals import Conditions, Contestant, Final, Finals, contestant
from evoflash.core.statistics import Ratio, geometric_mean, paired_ratio
from evoflash.core.status import Status
from evoflash.evaluator.messages import Raced, Verified

Cost = tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """How many times faster than the baselines a kernel is; the fields are those of `Final`."""

    ratios: dict[str, Ratio]
    vs_best: Ratio | None
    best_baseline: str | None
    vs_math: Ratio | None


def compare(time: Contestant | None, baselines: Sequence[Contestant], plain: str) -> Comparison:
    """A kernel's paired ratios against baselines of the same race, the fastest of which comes first.

    Args:
        plain: the name of the unfused one (`Problem.plain_baseline`).
    """
    ratios = {each.name: paired_ratio(each.samples, time.samples) for each in baselines} if time is not None else {}
    best = baselines[0].name if baselines else None
    return Comparison(ratios, ratios.get(best) if best else None, best, ratios.get(plain))


def name_of(index: int) -> str:
    """A finalist's name in a race."""
    return f"candidate {index}"


def rank(verdicts: Mapping[int, Verified], costs: Mapping[int, Cost], raced: Raced, plain: str) -> Finals:
    """The finals on one shape: the finalists, the winner first, with their ratios against each baseline.

    The fastest and all that do not differ from it significantly (`Ratio.is_significant`) are tied: of these the
    simplest wins, the one with the least cost.

    Args:
        costs: what a finalist takes, compared from left to right.
        plain: as for `compare`.
    """
    times = {each.name: each for each in raced.contestants}
    baselines = raced.baselines({name_of(index) for index in verdicts})
    finalists = []
    for index, verdict in verdicts.items():
        time = times.get(name_of(index))
        final = Final(
            index=index,
            status=verdict.status,
            reason=verdict.reason,
            cases=len(verdict.accuracy),
            refused=verdict.refused,
            accuracy=verdict.accuracy,
            time=time,
            cold=raced.cold.get(name_of(index)),
            **vars(compare(time, baselines, plain)),
        )
        finalists.append(final)
    finalists.sort(key=lambda each: (each.status is not Status.OK, each.time.p50_us if each.time else float("inf")))
    return Finals(
        finalists=tuple(settled(finalists, costs)),
        baselines=tuple(baselines),
        baseline_failures=raced.failures,
        versions=raced.versions,
        rounds=raced.rounds,
        conditions=raced.conditions,
    )


def tied(fastest: Contestant, other: Contestant) -> Ratio | None:
    """How many times slower the other is, if that does not differ from 1 significantly; else None."""
    ratio = paired_ratio(other.samples, fastest.samples)
    return ratio if not ratio.is_significant or ratio.value <= 1 else None


def settled(finalists: list[Final], costs: Mapping[int, Cost]) -> list[Final]:
    """Finalists, the fastest first; of those that are tied with it the simplest goes to the front, with the reason."""
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


# Several shapes.


def pooled(found: Mapping[str, Finals], costs: Mapping[int, Cost], plain: str) -> Finals:
    """The finals on all shapes as one; those on a single shape as they are.

    Of several shapes a sample is the geometric mean of those of its round on each shape. Ties are settled by these
    means.

    Args:
        found: by the shapes' names; all finalists are in the first.
        costs, plain: as for `rank`.
    """
    first, *others = found.values()
    if not others:
        return first
    names = [name for name in (each.name for each in first.baselines) if all(_baseline(each, name) for each in others)]
    baselines = [
        _mean_contestant(name, [each for finals in found.values() if (each := _baseline(finals, name))])
        for name in names
    ]
    baselines.sort(key=lambda each: each.p50_us)
    finalists = [
        _pooled_final({shape: _final(each, final.index) for shape, each in found.items()}, baselines, plain)
        for final in first.finalists
    ]
    finalists.sort(key=lambda each: each.time.p50_us if each.time else float("inf"))
    return Finals(
        finalists=tuple(settled(finalists, costs)),
        baselines=tuple(baselines),
        baselines_by_shape=tuple(
            each.model_copy(update={"shape": shape}) for shape, finals in found.items() for each in finals.baselines
        ),
        baseline_failures={
            name: f"{shape}: {why}" for shape, each in found.items() for name, why in each.baseline_failures.items()
        },
        versions={name: version for each in found.values() for name, version in each.versions.items()},
        rounds=min(finals.rounds for finals in found.values()),
        conditions=_pooled_conditions([finals.conditions for finals in found.values()]),
    )


def _pooled_conditions(found: Sequence[Conditions]) -> Conditions:
    """Those of the first shape, with the disturbed samples of all."""
    counts = ("samples", "retaken", "disturbed")
    others = sorted({name for each in found for name in each.others})
    sums = {name: sum(getattr(each, name) for each in found) for name in counts}
    return found[0].model_copy(update={**sums, "others": tuple(others)})


def named(shape: str, accuracy: Accuracy) -> Accuracy:
    """The errors on a case, with the shape that it belongs to in its name."""
    return accuracy.model_copy(update={"case": f"{shape}: {accuracy.case}"})


def _pooled_final(finals: Mapping[str, Final | None], baselines: Sequence[Contestant], plain: str) -> Final:
    """One finalist; None stands for a shape that it did not get to."""
    known = {shape: each for shape, each in finals.items() if each is not None}
    first = next(iter(known.values()))
    fallen = next(((shape, each) for shape, each in known.items() if each.status is not Status.OK), None)
    times = {shape: each.time for shape, each in known.items() if each.time is not None}
    by_shape = tuple(time.model_copy(update={"shape": shape}) for shape, time in times.items())
    time = _mean_contestant(by_shape[0].name, by_shape) if fallen is None and len(by_shape) == len(finals) else None
    return first.model_copy(
        update={
            "status": fallen[1].status if fallen else Status.OK,
            "reason": f"{fallen[0]}: {fallen[1].reason}" if fallen else "",
            "cases": sum(each.cases for each in known.values()),
            "accuracy": tuple(named(shape, each) for shape, final in known.items() for each in final.accuracy),
            "time": time,
            "cold": None,
            "by_shape": by_shape,
            **vars(compare(time, baselines, plain)),
        }
    )


def _final(finals: Finals, index: int) -> Final | None:
    return next((each for each in finals.finalists if each.index == index), None)


def _baseline(finals: Finals, name: str) -> Contestant | None:
    return next((each for each in finals.baselines if each.name == name), None)


def _mean_contestant(name: str, contestants: Sequence[Contestant]) -> Contestant:
    rounds = min(len(each.samples) for each in contestants)
    samples = zip(*(each.samples[:rounds] for each in contestants), strict=True)
    return contestant(name, [geometric_mean(values) for values in samples])
