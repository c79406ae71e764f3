"""`evoflash export`: writes a run's winner, or any candidate, as a package that does not need evoflash."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

import evoflash
from evoflash import config
from evoflash.cli.runs import Database, Run
from evoflash.config import Settings
from evoflash.core.finals import Final
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.plugins import installed
from evoflash.problems import AttentionProblem
from evoflash.report import runs as report
from evoflash.run.plan import Plan
from evoflash.store import RunStore
from evoflash.store.records import RunSummary
from evoflash.targets.cuda import parse_arch


def export(
    run: Run = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder; default: runs/exports/….")] = None,
    candidate: Annotated[int | None, typer.Option(help="Export this candidate instead of the run's best.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the Python package.")] = None,
    db: Database = None,
) -> None:
    """Write the winner as an installable package: source, operators for PyTorch, a drop-in for SDPA and a self-test."""
    settings = config.load(db=db)
    with RunStore.open(settings.db) as store:
        if candidate is not None:
            run = store.candidate(candidate).run_id
        folder = export_run(store, run, out, settings, candidate, name)
    print(folder)


def export_run(
    store: RunStore,
    run: int | None,
    out: Path | None,
    settings: Settings,
    candidate: int | None = None,
    name: str | None = None,
) -> Path:
    """Writes the package of a candidate, by default the run's best, and returns its folder."""
    summary = store.run(run)
    chosen = candidate if candidate is not None else report.best(store, summary.id).candidate
    plan = Plan.model_validate(summary.plan)
    kind = plan.shapes[0].problem.kind
    exporters = {AttentionProblem.kind: write, **installed("exporters")}
    if kind not in exporters:
        raise UsageError(f"there is no exporter for {kind}; install a plug-in that provides one")
    winner = _winner(store, summary, plan, chosen, name or package_name(plan))
    if candidate is None and winner.lengths != "any":
        winner = replace(winner, others=_of_any_length(store, summary, plan, winner))
    default = Path("runs/exports") / f"{winner.name}-run{summary.id}"
    return exporters[kind](winner, out or default)


def _winner(store: RunStore, summary: RunSummary, plan: Plan, candidate: int, name: str) -> Winner:
    """A candidate, with what the database knows of it."""
    stored = store.candidate(candidate)
    if stored.source is None or stored.language not in ("c++", "cuda"):
        raise UsageError(f"candidate {candidate} has no source; export another one")
    finals = store.finals(summary.id)
    final = next((each for each in finals.finalists if each.index == stored.candidate.index), None) if finals else None
    return Winner(
        name=name,
        family=stored.candidate.family,
        genome=dict(stored.candidate.genome),
        source=flatten(stored.source),
        language="cuda" if stored.language == "cuda" else "c++",
        target="cuda" if summary.target == "cuda" else "cpu",
        arch=_arch(summary.target, plan, summary.machine),
        problem=plan.shapes[0].problem,
        provenance={
            "run": summary.id,
            "candidate": candidate,
            "compiled_sha256": hashlib.sha256(stored.source.encode()).hexdigest(),
            "strategy": summary.strategy,
            "seed": summary.seed,
            "date": datetime.now(UTC).date().isoformat(),
            "evoflash": evoflash.__version__,
            "problem": plan.label,
            "lineage": [
                {
                    "candidate": each.stored.id,
                    "operator": each.stored.candidate.operator,
                    "genome": dict(each.stored.candidate.genome),
                    "parents": list(each.stored.parent_ids),
                    "p50_us": each.stored.fitness_us,
                }
                for each in store.ancestry(candidate)
            ],
            "machine": {key: value for key, value in summary.machine.items() if not isinstance(value, dict)},
            "finals": _without_samples(final),
        },
        cases=tuple(each.case for each in final.accuracy) if final else (),
    )


def _of_any_length(store: RunStore, summary: RunSummary, plan: Plan, winner: Winner) -> tuple[Winner, ...]:
    """The best of the finalists that take any length, for the lengths that the winner does not take; or none."""
    finals = store.finals(summary.id)
    for final in finals.finalists if finals else ():
        if final.status is Status.OK and final.accuracy:
            other = _winner(store, summary, plan, store.candidate_id(summary.id, final.index), winner.name)
            if other.lengths == "any":
                return (other,)
    return ()


def package_name(plan: Plan) -> str:
    """The default name of an exported package."""
    label = re.sub(r"[^a-z0-9]+", "_", plan.title.lower())[:80].strip("_") or "shape"
    return f"evoflash_attention_{label}"


def _without_samples(final: Final | None) -> dict[str, object]:
    """A candidate's result in the finals, without timing samples."""
    if final is None:
        return {}
    time = final.time.model_copy(update={"samples": ()}) if final.time else None
    by_shape = tuple(each.model_copy(update={"samples": ()}) for each in final.by_shape)
    cold = final.cold.model_copy(update={"samples": ()}) if final.cold else None
    return final.model_copy(update={"time": time, "cold": cold, "by_shape": by_shape}).model_dump(mode="json")


def _arch(target: str, plan: Plan, machine: dict[str, object]) -> int | None:
    if target != "cuda":
        return None
    facts = machine["facts"]
    assert isinstance(facts, dict)
    return parse_arch(plan.arch) if plan.arch else int(facts["arch"])
