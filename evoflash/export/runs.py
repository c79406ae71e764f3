"""The winners of runs, or any candidate, from the database into a package that does not need evoflash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.core.finals import Final
from evoflash.core.status import Status
from evoflash.errors import EvoflashError, MissingError, NoPackageError, UsageError
from evoflash.export.formats import FORMATS
from evoflash.export.package import write, write_files
from evoflash.export.rendering import CONTENTS, SWEEP, content_of
from evoflash.export.sweep import Sweep
from evoflash.export.winner import MOST_KERNELS, Winner
from evoflash.flattening import flatten
from evoflash.plugins import installed
from evoflash.report import runs as report
from evoflash.run.plan import Plan
from evoflash.store import RunStore
from evoflash.store.records import RunSummary
from evoflash.targets import devices
from evoflash.targets.cuda import parse_arch
from evoflash.version import __version__

PACKAGE = "package"  # the format that is a Python package
FOLDER = Path("runs/exports")  # of exports whose folder nobody named
CALLS = "calls"  # the kind of insight that holds the time of a call


def export_runs(
    store: RunStore,
    runs: Sequence[int],
    out: Path | None = None,
    candidate: int | None = None,
    name: str | None = None,
    sweep: Sweep | None = None,
    prebuilt: bool = False,
    form: str = PACKAGE,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Writes the package of a candidate, by default the best of each run, and returns its folder.

    Args:
        runs: their numbers.
        out: by default a folder below `FOLDER`.
        sweep: what to measure, with all finalists that were right; without it the winners are asked for all that they
            take, and of a run whose winner takes its own lengths alone also the fastest finalist that takes any.
        say: is told what was measured, and what was left out.
    """
    winners: list[Winner] = []
    further: list[Winner] = []
    summaries = [store.run(run) for run in dict.fromkeys(runs)]
    plans = [Plan.model_validate(summary.plan) for summary in summaries]
    first_problem = plans[0].shapes[0].problem
    kind = first_problem.kind
    exporters = {**dict.fromkeys(CONTENTS, write), **installed("exporters")}
    if kind not in exporters:
        raise NoPackageError(f"there is no exporter for a {kind} problem yet; its source is in the database")
    others = sorted({each.shapes[0].problem.computes for each in plans} - {first_problem.computes})
    if others:
        raise UsageError(
            f"a package computes one thing, not {first_problem.computes} and {others[0]}; export them apart"
        )
    if sweep is not None and (kind not in CONTENTS or SWEEP not in CONTENTS[kind].skeletons):
        raise UsageError(
            f"--sweep measures attention; a package of {first_problem.computes} has no sweep, leave it out"
        )
    package = name or package_name(plans)
    for summary, plan in zip(summaries, plans, strict=True):
        chosen = candidate if candidate is not None else report.best(store, summary.id).candidate
        winner = _winner(store, summary, plan, chosen, package)
        winners.append(winner)
        if candidate is None and (sweep is not None or winner.sizes != "any"):
            further += _further(store, summary, plan, winner, all_of_them=sweep is not None)
    distinct: dict[str, Winner] = {}
    for kernel in (*winners, *further):
        distinct.setdefault(kernel.source_sha256, kernel)
    first, *others = list(distinct.values())[: max(MOST_KERNELS, len(winners))]
    if len(distinct) > 1 + len(others):
        say(f"the last {len(distinct) - 1 - len(others)} finalists are left out: too many kernels")
    ending = [] if form == PACKAGE else [form]
    out = out or FOLDER / "-".join([package, *(f"run{each.id}" for each in summaries), *ending])
    if form != PACKAGE and first.language == "python":
        raise UsageError(f"the format {form} is for C++ and CUDA; leave out --format for a kernel in Python")
    if form != PACKAGE:
        return write_files(FORMATS[form](first), out)
    whole = replace(first, others=tuple(others), prebuilt=prebuilt)
    if sweep is not None:
        whole = sweep.run(whole, out, variables_of(summaries[0]))
        found = whole.sweep or {}
        say(f"{len(found['points'])} sizes measured, {len(found['rows'])} ranges for kernels")
    return exporters[kind](whole, out)


def _winner(store: RunStore, summary: RunSummary, plan: Plan, candidate: int, name: str) -> Winner:
    """A candidate, with what the database knows of it."""
    stored = store.candidate(candidate)
    if stored.source is None or stored.language not in ("c++", "cuda", "python"):
        raise UsageError(f"candidate {candidate} has no source; export another one")
    problem, is_python = plan.shapes[0].problem, stored.language == "python"
    if problem.kind in CONTENTS:
        content_of(problem, is_python=is_python)
    source, interface = Source(stored.source, stored.language), problem.c_interface
    if not is_python and source.interface != interface.signature:
        raise NoPackageError(
            f"candidate {candidate} was rendered for another {interface.header} than this evoflash has, by which a "
            f"package would call it; export it by the version that found it, or search again "
            f"(`--warm-start {summary.id}`)"
        )
    finals = store.finals(summary.id)
    final = next((each for each in finals.finalists if each.index == stored.candidate.index), None) if finals else None
    return Winner(
        name=name,
        family=stored.candidate.family,
        genome=dict(stored.candidate.genome),
        source=stored.source if is_python else flatten(stored.source),
        language=stored.language,
        target="cuda" if summary.target == "cuda" else "cpu",
        arch=_arch(summary.target, plan, summary.machine),
        problem=problem,
        beside=tuple(each.problem for each in plan.shapes[1:]),
        constants=_constants(plan, stored.candidate.family),
        provenance={
            "run": summary.id,
            "candidate": candidate,
            "compiled_sha256": hashlib.sha256(stored.source.encode()).hexdigest(),
            "strategy": summary.strategy,
            "seed": summary.seed,
            "date": summary.created_at.date().isoformat(),
            "evoflash": __version__,
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
            **({"calls": calls} if (calls := _calls(store, summary.id, candidate)) else {}),
        },
        cases=tuple(each.case for each in final.accuracy) if final else (),
    )


def _constants(plan: Plan, family: str) -> tuple[str, ...] | None:
    """The facts of a problem that are constants in the kernels of a family; None for a family that is gone."""
    try:
        return tuple(load(family, plan.templates).manifest.constants)
    except EvoflashError:
        return None


def _further(
    store: RunStore, summary: RunSummary, plan: Plan, winner: Winner, *, all_of_them: bool
) -> Iterator[Winner]:
    """The finalists that take more sizes than their own, the fastest first; or the first that takes any size."""
    finals = store.finals(summary.id)
    for final in finals.finalists if finals else ():
        if final.status is Status.OK and final.accuracy:
            try:
                other = _winner(store, summary, plan, store.candidate_id(summary.id, final.index), winner.name)
            except NoPackageError:
                continue
            if (other.language == "python") != (winner.language == "python"):
                continue
            if other.sizes == "any" or (all_of_them and other.sizes == "some"):
                yield other
                if not all_of_them:
                    return


def package_name(plans: Sequence[Plan]) -> str:
    """The default name of an exported package: the shapes, and what else two packages may differ in."""
    words: dict[str, None] = {}
    for plan in plans:
        problem = plan.shapes[0].problem
        facts = problem.facts()
        mask = "causal" if facts.get("causal") and "causal" not in plan.title else ""
        dtype = str(facts.get("dtype", "")) if "dtype=" not in plan.title else ""
        words |= dict.fromkeys((plan.title.lower(), mask, dtype))
    computes = plans[0].shapes[0].problem.computes
    words.pop(computes, None)  # the title of a function at its own sizes
    label = re.sub(r"[^a-z0-9]+", "_", "_".join(words))[:80].strip("_") or "shape"
    return f"evoflash_{computes}_{label}"


def _calls(store: RunStore, run: int, candidate: int) -> dict[str, Any] | None:
    """The times of calls that the search has measured, if they are those of this candidate."""
    found = [each.data for each in store.insights(run) if each.kind == CALLS and each.data["candidate"] == candidate]
    return {key: value for key, value in found[-1].items() if key != "candidate"} if found else None


def _without_samples(final: Final | None) -> dict[str, object]:
    """A candidate's result in the finals, without timing samples."""
    if final is None:
        return {}
    time = final.time.model_copy(update={"samples": ()}) if final.time else None
    by_shape = tuple(each.model_copy(update={"samples": ()}) for each in final.by_shape)
    cold = final.cold.model_copy(update={"samples": ()}) if final.cold else None
    return final.model_copy(update={"time": time, "cold": cold, "by_shape": by_shape}).model_dump(mode="json")


def variables_of(run: RunSummary) -> dict[str, str]:
    """Environment variables that show a program the device of a run, or one like it; none where it has no choice."""
    if run.target != "cuda":
        return {}
    try:
        return {"CUDA_VISIBLE_DEVICES": devices.home_of(run.machine).uuid}
    except MissingError:  # the program says itself what is missing
        return {}


def _arch(target: str, plan: Plan, machine: dict[str, object]) -> int | None:
    if target != "cuda":
        return None
    facts = machine["facts"]
    assert isinstance(facts, dict)
    return parse_arch(plan.arch) if plan.arch else int(facts["arch"])
