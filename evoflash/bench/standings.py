"""From a race's samples to standings: rates and ratios, the fastest first."""

from __future__ import annotations

from collections.abc import Sequence

from evoflash.bench.measurement import Entry, ShapeResult
from evoflash.core.evaluation import Timing
from evoflash.core.finals import Contestant
from evoflash.core.status import Status
from evoflash.evaluator.messages import Raced
from evoflash.evaluator.ranking import compare
from evoflash.evaluator.sandbox import WorkerDeath
from evoflash.problems import Problem


def standings(
    name: str, problem: Problem, raced: Raced | WorkerDeath, kernels: Sequence[Entry], seconds: float
) -> ShapeResult:
    """Baselines and kernels with their times and ratios, the fastest first; whoever has no times with the reason.

    Args:
        kernels: as they stood before the race, or fell in it.
        seconds: wall time of the shape.
    """
    if isinstance(raced, WorkerDeath):
        kernels = [_fell(entry, raced) if entry.status == Status.OK else entry for entry in kernels]
        raced = Raced(contestants=(), failures={"baselines": raced.reason})
    times = {each.name: each for each in raced.contestants}
    rivals = raced.baselines({contestant(entry) for entry in kernels})
    baselines = [
        _timed(
            Entry(name=each.name, status=Status.OK, version=raced.versions.get(each.name, "")),
            each,
            None,
            problem,
            rivals,
        )
        for each in rivals
    ]
    done = []
    for entry in kernels:
        key = contestant(entry)
        done.append(_timed(entry, times[key], raced.cold.get(key), problem, rivals) if key in times else entry)
    done.sort(key=lambda entry: entry.p50_us if entry.p50_us is not None else float("inf"))
    return ShapeResult(
        shape=name,
        label=problem.label,
        problem=problem.to_dict(),
        flops=problem.flops,
        min_bytes=problem.min_bytes,
        rounds=raced.rounds,
        baselines=tuple(baselines),
        kernels=tuple(done),
        best_baseline=rivals[0].name if rivals else None,
        failures={**raced.failures, **{entry.name: entry.reason for entry in done if entry.p50_us is None}},
        seconds=seconds,
    )


def contestant(entry: Entry) -> str:
    """The name under which a kernel races; it cannot be that of a baseline."""
    return f"kernel {entry.name}"


def _timed(
    entry: Entry, time: Contestant, cold: Timing | None, problem: Problem, baselines: Sequence[Contestant]
) -> Entry:
    """An entry with its figures."""
    compared = compare(time, baselines, problem.plain_baseline)
    return entry.model_copy(
        update={
            **{field: getattr(time, field) for field in ("p50_us", "p90_us", "p99_us", "samples")},
            "vs_best": compared.vs_best,
            "vs_math": compared.vs_math,
            "tflops": problem.flops / time.p50_us / 1e6,
            "gbytes_per_s": problem.min_bytes / time.p50_us / 1e3,
            "cold": cold,
        }
    )


def _fell(entry: Entry, death: WorkerDeath) -> Entry:
    return entry.model_copy(update={"status": death.status, "reason": death.reason})
