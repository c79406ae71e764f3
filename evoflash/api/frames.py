"""What a run has on record, as pandas frames. They need the extra `frames`, and pandas is imported by the first one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from evoflash.core.finals import Contestant, Final, Finals
from evoflash.errors import MissingError
from evoflash.report.lineage import Lineage
from evoflash.store import StoredCandidate

if TYPE_CHECKING:
    from pandas import DataFrame

CANDIDATES = (
    "candidate", "index", "family", "operator", "parents", "status", "stage", "reason", "p50_us", "quick",
    "duplicate_of", "seconds", "finished_at", "genome_digest", "source_digest",
)  # fmt: skip
EVALUATIONS = (
    "candidate", "gate", "case", "output", "max_error", "max_bound", "sdpa_max_error", "rms_error", "rms_bound",
    "sdpa_rms_error", "mean_error", "share",
)  # fmt: skip
SAMPLES = ("name", "candidate", "gate", "regime", "shape", "sample", "us")
LINEAGE = ("candidate", "parent", "run", "family", "operator", "status", "p50_us", "speedup", "changes")
SPEED = ("baseline", "p50_us", "speedup", "low", "high")

# Columns whose values may all be missing, which leaves pandas without a type.
FLOATS = frozenset({"p50_us", "speedup", "build.seconds"})
WHOLE = frozenset(
    {"candidate", "parent", "duplicate_of"}
    | {f"build.{name}" for name in ("registers", "shared_bytes", "spill_bytes", "stack_bytes")}
)


def require_pandas() -> Any:
    """The module pandas.

    Raises:
        MissingError: when it is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise MissingError(
            f"frames need pandas, which cannot be imported ({error}); pip install 'evoflash[frames]'"
        ) from None


def candidates(stored: Sequence[StoredCandidate]) -> DataFrame:
    """One row per candidate; each gene and each figure of the compiler is a column, `gene.…` and `build.…`."""
    rows = []
    for each in stored:
        evaluation, build = each.evaluation, each.evaluation.build
        row = {
            "candidate": each.id,
            "index": each.candidate.index,
            "family": each.candidate.family,
            "operator": each.candidate.operator,
            "parents": each.parent_ids,
            "status": evaluation.status.value,
            "stage": evaluation.stage.value,
            "reason": evaluation.reason,
            "p50_us": each.fitness_us,
            "quick": evaluation.quick,
            "duplicate_of": evaluation.duplicate_of,
            "seconds": evaluation.seconds,
            "finished_at": each.finished_at,
            "genome_digest": each.candidate.genome.digest,
            "source_digest": each.source_digest,
        }
        row |= {f"gene.{name}": value for name, value in each.candidate.genome.items()}
        facts = build.model_dump(exclude={"log", "binary_digest"}) if build is not None else {}
        rows.append(row | {f"build.{name}": value for name, value in facts.items()})
    extra = dict.fromkeys(name for row in rows for name in row if name not in CANDIDATES)
    return _frame(rows, (*CANDIDATES, *extra), index="candidate")


def evaluations(stored: Sequence[StoredCandidate], finals: Finals | None) -> DataFrame:
    """One row per correctness case of each candidate, in the search and in the finals."""
    ids = {each.candidate.index: each.id for each in stored}
    checks = [(each.id, "search", accuracy) for each in stored for accuracy in each.evaluation.accuracy]
    checks += [(ids[final.index], "finals", accuracy) for final in _finalists(finals) for accuracy in final.accuracy]
    rows = [
        {"candidate": key, "gate": gate, **accuracy.model_dump(exclude={"worst_index"}), "share": accuracy.share}
        for key, gate, accuracy in checks
    ]
    return _frame(rows, EVALUATIONS)


def samples(stored: Sequence[StoredCandidate], finals: Finals | None) -> DataFrame:
    """One row per timing sample: of candidates in the search, and of finalists and baselines in the finals."""
    rows: list[dict[str, Any]] = []
    for each in stored:
        for timing in each.evaluation.timings:
            head = {"name": f"candidate {each.id}", "candidate": each.id, "gate": "search", "regime": timing.regime}
            rows += _sampled(head | {"shape": timing.shape}, timing.samples)
    ids = {each.candidate.index: each.id for each in stored}
    for final in _finalists(finals):
        key = ids[final.index]
        head = {"name": f"candidate {key}", "candidate": key, "gate": "finals"}
        rows += _raced(head, (final.time, *final.by_shape))
        if final.cold is not None:
            rows += _sampled(head | {"regime": "cold", "shape": final.cold.shape}, final.cold.samples)
    for baseline in (*finals.baselines, *finals.baselines_by_shape) if finals is not None else ():
        rows += _raced({"name": baseline.name, "candidate": None, "gate": "finals"}, (baseline,))
    return _frame(rows, SAMPLES)


def lineage(found: Lineage) -> DataFrame:
    """One row per step from a parent to a child; a candidate without parents has one row with no parent."""
    rows: list[dict[str, Any]] = []
    for each in found.candidates:
        head = each.model_dump(include={"candidate", "run", "family", "operator", "status", "p50_us"})
        changes = [
            {"parent": change.parent, "speedup": change.speedup, "changes": change.genes} for change in each.changes
        ]
        rows += [head | change for change in changes or [{"parent": None, "speedup": None, "changes": {}}]]
    return _frame(rows, LINEAGE)


def speed(final: Final | None, baselines: Sequence[Contestant]) -> DataFrame:
    """How many times faster a finalist is than each baseline, with the 95 % interval; the fastest baseline first."""
    ratios = final.ratios if final is not None else {}
    rows = [
        {
            "baseline": each.name,
            "p50_us": each.p50_us,
            "speedup": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
        }
        for each in sorted(baselines, key=lambda each: each.p50_us)
        if (ratio := ratios.get(each.name)) is not None
    ]
    return _frame(rows, SPEED, index="baseline")


def _finalists(finals: Finals | None) -> Sequence[Final]:
    return finals.finalists if finals is not None else ()


def _raced(head: dict[str, Any], contestants: Iterable[Contestant | None]) -> list[dict[str, Any]]:
    return [
        row
        for each in contestants
        if each is not None
        for row in _sampled(head | {"regime": "warm", "shape": each.shape}, each.samples)
    ]


def _sampled(head: dict[str, Any], values: Sequence[float]) -> list[dict[str, Any]]:
    return [{**head, "sample": number, "us": value} for number, value in enumerate(values)]


def _frame(rows: list[dict[str, Any]], columns: Sequence[str], *, index: str | None = None) -> DataFrame:
    kinds = {name: "Int64" if name in WHOLE else "float64" for name in columns if name in WHOLE | FLOATS}
    frame = require_pandas().DataFrame(rows, columns=list(columns)).astype(kinds)
    return frame if index is None else frame.set_index(index)
