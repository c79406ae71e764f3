"""Reports on a run: counts, convergence, finals, and its best candidate."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evoflash.core.finals import Final, Finals
from evoflash.core.genome import Gene
from evoflash.core.record import Document
from evoflash.core.statistics import Ratio
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, NothingCorrectError, UsageError
from evoflash.store import DeviceTally, Insight, Outcome, RunStore, RunSummary, Tally


@dataclass(frozen=True)
class Share:
    """The results of one family or operator.

    Attributes:
        name: of the family or operator.
        candidates: how many it has.
        correct: how many of them are ok.
        improvements: how often it improved the best time of the run.
        best_us: its best time in microseconds.
    """

    name: str
    candidates: int
    correct: int
    improvements: int
    best_us: float | None


@dataclass(frozen=True)
class Improvement:
    """An improvement of the best time of a run.

    Attributes:
        after: number of candidates finished by then.
        seconds: time since the run began.
        candidate: id of the candidate.
        index: its number in the run.
        operator: how it was proposed.
        best_us: its time in microseconds.
    """

    after: int
    seconds: float
    candidate: int
    index: int
    operator: str
    best_us: float


class RunList(Document):
    """All runs of a database.

    Attributes:
        runs: ordered by id.
    """

    runs: tuple[RunSummary, ...]


class InsightList(Document):
    """What the results of a run say.

    Attributes:
        run: its id.
        insights: oldest first; without `--all` those of the last generation.
    """

    run: int
    insights: tuple[Insight, ...]


class RunReport(Document):
    """A run: its settings, counts, convergence, finals and insights.

    Attributes:
        run: settings, machine and totals.
        siblings: the runs of the same search over other shapes.
        statuses: number of candidates by status.
        families: totals by family.
        operators: totals by operator.
        devices: totals by the device that examined; empty for a run of an earlier version.
        convergence: each improvement of the best time.
        finals: None before they ran.
        finalist_ids: the finalists' indices in the run -> their ids.
        insights: what the results say, oldest first.
    """

    run: RunSummary
    siblings: tuple[RunSummary, ...]
    statuses: dict[str, int]
    families: tuple[Share, ...]
    operators: tuple[Share, ...]
    devices: tuple[DeviceTally, ...] = ()
    convergence: tuple[Improvement, ...]
    finals: Finals | None
    finalist_ids: dict[int, int]
    insights: tuple[Insight, ...]


class Best(Document):
    """The best candidate of a run, compared with the baselines.

    Attributes:
        run: its run.
        candidate: its id.
        index: its number in the run.
        family: the template that rendered it.
        genome: the parameter values that it was rendered with.
        p50_us: the median of the finals' interleaved rounds, or that of the search if no finals ran.
        vs_best: how many times faster than the fastest baseline, `best_baseline`; None without finals.
        vs_best_interval: its 95 % bootstrap interval.
        best_baseline: the name of the fastest baseline.
        vs_math: how many times faster than SDPA's math backend.
        vs_math_interval: its 95 % bootstrap interval.
        baselines: medians of the baselines in the finals, microseconds.
        cases: number of correctness cases that it passed.
        source_digest: SHA-256 of its source.
        status: "ok", unless the finals refuted all candidates.
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
        devices=tuple(store.devices(run.id)),
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
