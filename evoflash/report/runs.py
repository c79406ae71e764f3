"""Reports on a run: counts, convergence, finals, and its best candidate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from evoflash.core.finals import Final, Finals
from evoflash.core.genome import Gene
from evoflash.core.statistics import Ratio
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, NothingCorrectError, UsageError
from evoflash.store import Insight, Outcome, RunStore, RunSummary, Tally


@dataclass(frozen=True)
class Share:
    """The results of one family or operator; `improvements` counts how often it improved the best time of the run."""

    name: str
    candidates: int
    correct: int
    improvements: int
    best_us: float | None


@dataclass(frozen=True)
class Improvement:
    """An improvement of the best time of a run; `after` is the number of candidates finished by then."""

    after: int
    seconds: float
    candidate: int
    index: int
    operator: str
    best_us: float


@dataclass(frozen=True)
class RunReport:
    """The content of `evoflash runs show`."""

    run: RunSummary
    siblings: tuple[RunSummary, ...]  # the runs of the same search over other shapes
    statuses: dict[str, int]
    families: tuple[Share, ...]
    operators: tuple[Share, ...]
    convergence: tuple[Improvement, ...]
    finals: Finals | None
    finalist_ids: dict[int, int]  # index in the run -> id
    insights: tuple[Insight, ...]


@dataclass(frozen=True)
class Best:
    """The best candidate of a run.

    Attributes:
        candidate: its id; `index` is its number in the run.
        p50_us: the median of the finals' interleaved rounds, or that of the search if no finals ran.
        vs_best: how many times faster than the fastest baseline, `best_baseline`; None without finals.
        vs_math: how many times faster than SDPA's math backend.
        baselines: medians of the baselines in the finals, microseconds.
        cases: number of correctness cases that it passed.
    """

    run: int
    candidate: int
    index: int
    family: str
    genome: dict[str, Gene]
    p50_us: float | None
    vs_best: float | None
    vs_best_interval: tuple[float, float] | None
    best_baseline: str | None
    vs_math: float | None
    vs_math_interval: tuple[float, float] | None
    baselines: dict[str, float]
    cases: int
    source_digest: str | None
    status: str


def report(store: RunStore, run_id: int | None) -> RunReport:
    """The report of a run, by default the latest; makes a fixed number of queries."""
    run = store.run(run_id)
    tally = store.tally(run.id)
    steps = store.improvements(run.id)
    finals = store.finals(run.id)
    return RunReport(
        run=run,
        siblings=tuple(each for each in store.group(run.id) if each.id != run.id),
        statuses=_statuses(tally),
        families=shares("family", tally, steps),
        operators=shares("operator", tally, steps),
        convergence=improvements(steps, run.created_at),
        finals=finals,
        finalist_ids=store.candidate_ids(run.id, [final.index for final in finals.finalists]) if finals else {},
        insights=tuple(store.insights(run.id)),
    )


def improvements(steps: Sequence[tuple[int, Outcome]], start: datetime) -> tuple[Improvement, ...]:
    """The improvements of a run, in the order in which the candidates finished."""
    found: list[Improvement] = []
    for after, each in steps:
        assert each.fitness_us is not None
        # The clock may have been set back; times in the report never decrease.
        seconds = max(found[-1].seconds if found else 0.0, (each.finished_at - start).total_seconds())
        found.append(Improvement(after, seconds, each.id, each.index, each.operator, each.fitness_us))
    return tuple(found)


def shares(by: str, tally: Sequence[Tally], steps: Sequence[tuple[int, Outcome]]) -> tuple[Share, ...]:
    """Totals by "family" or "operator", the one with the most candidates first."""
    improved = Counter(getattr(each, by) for _, each in steps)
    groups: dict[str, list[Tally]] = {}
    for each in tally:
        groups.setdefault(getattr(each, by), []).append(each)
    totals = []
    for name, members in groups.items():
        correct = [each for each in members if each.status == Status.OK]
        best = min((each.best_us for each in correct if each.best_us is not None), default=None)
        counts = (sum(each.count for each in members), sum(each.count for each in correct))
        totals.append(Share(name, *counts, improved[name], best))
    return tuple(sorted(totals, key=lambda share: (-share.candidates, share.name)))


def _statuses(tally: Sequence[Tally]) -> dict[str, int]:
    """Counts by status, most frequent first."""
    counts: Counter[str] = Counter()
    for each in tally:
        counts[each.status] += each.count
    return dict(counts.most_common())


def best(store: RunStore, run_id: int | None) -> Best:
    """The winner of the finals. Without one, the fastest candidate of the search that did not fail in the finals.

    Raises:
        NothingCorrectError: when the run has no correct candidate.
    """
    run = store.run(run_id)
    finals = store.finals(run.id)
    winner = finals.winner if finals is not None else None
    refuted = (
        {final.index for final in finals.finalists if final.status is not Status.OK} if finals is not None else set()
    )
    candidate_id = store.candidate_id(run.id, winner.index) if winner is not None else _fastest(store, run, refuted)
    stored = store.candidate(candidate_id)
    final = winner if winner is not None else Final(index=stored.candidate.index, status=stored.evaluation.status)
    return Best(
        run=run.id,
        candidate=stored.id,
        index=stored.candidate.index,
        family=stored.candidate.family,
        genome=dict(stored.candidate.genome),
        p50_us=final.time.p50_us if final.time is not None else stored.fitness_us,
        vs_best=final.vs_best.value if final.vs_best else None,
        vs_best_interval=_interval(final.vs_best),
        best_baseline=final.best_baseline,
        vs_math=final.vs_math.value if final.vs_math else None,
        vs_math_interval=_interval(final.vs_math),
        baselines={each.name: each.p50_us for each in finals.baselines} if finals is not None else {},
        cases=final.cases if winner is not None else len(stored.evaluation.accuracy),
        source_digest=stored.source_digest,
        status=final.status.value,
    )


def best_run(store: RunStore) -> RunSummary:
    """The run whose winner is faster than its best baseline by the highest ratio.

    Raises:
        NotFoundError: when no run has a winner that was timed beside the baselines.
        UsageError: when runs of several problems or devices have one; their ratios do not compare.
    """
    bests: dict[tuple[str, str], tuple[float, RunSummary]] = {}  # by problem and device
    for run in store.runs():
        finals = store.finals(run.id) if run.has_finals else None
        winner = finals.winner if finals is not None else None
        if winner is None or winner.vs_best is None:
            continue
        kind = (run.problem_label, str(run.machine.get("device", run.target)))
        if kind not in bests or winner.vs_best.value >= bests[kind][0]:
            bests[kind] = (winner.vs_best.value, run)
    if not bests:
        raise NotFoundError(
            "no run has a winner in its finals yet, so none is the best; name one by latest or a number"
        )
    if len(bests) > 1:
        found = ", ".join(f"run:{run.id} ({' on '.join(kind)}, {ratio:.3g}x)" for kind, (ratio, run) in bests.items())
        raise UsageError(f"best is ambiguous, as there are runs of several problems or devices; name one of {found}")
    return next(run for _, run in bests.values())


def _fastest(store: RunStore, run: RunSummary, refuted: set[int]) -> int:
    found = store.fastest(run.id, but=sorted(refuted))
    if not found:
        counts = ", ".join(f"{count} {status}" for status, count in _statuses(store.tally(run.id)).items())
        raise NothingCorrectError(
            f"run {run.id} has no correct candidate ({counts or 'it has none at all'}); "
            f"see why: `evoflash runs show {run.id}`, then `evoflash show CANDIDATE --log`"
        )
    return found[0]


def _interval(ratio: Ratio | None) -> tuple[float, float] | None:
    return (ratio.low, ratio.high) if ratio is not None else None


def run_document(found: RunReport) -> dict[str, Any]:
    """The report for --json."""
    return asdict(found) | {"finals": found.finals.model_dump() if found.finals is not None else None}
