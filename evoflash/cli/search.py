"""`evoflash search` and `evoflash resume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, proposers, targets
from evoflash.cli import families, options, rivals
from evoflash.cli.running import hush, run_search, say
from evoflash.cli.runs import AsJson, Database
from evoflash.cli.shapes import chosen as chosen_shapes
from evoflash.cli.words import Run, RunWord, is_run, run_of
from evoflash.codegen.template import load
from evoflash.config import Settings
from evoflash.errors import NotFoundError, SpaceError, UsageError
from evoflash.evaluator import Limits, sanitizers
from evoflash.problems import Problem
from evoflash.run import warm_start
from evoflash.run.plan import Plan, choose_families
from evoflash.store import RunStore
from evoflash.targets import Target

Events = Annotated[
    bool, typer.Option("--events", help="Print progress as JSON, one object per line on standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]


class Score(StrEnum):
    """The objective of a search over several shapes."""

    EACH = "each"
    ROBUST = "robust"


def search(
    context: typer.Context,
    shape: options.Shapes = None,
    problem: options.Problem = None,
    score: Annotated[
        Score,
        typer.Option(
            help="With several shapes: each finds the fastest kernel of each, with one budget and shared results; "
            "robust finds one kernel for all of them, scored by the geometric mean of its times."
        ),
    ] = Score.EACH,
    dtype: options.Dtype = None,
    target: options.TargetName = None,
    arch: options.Arch = None,
    family: Annotated[list[str] | None, typer.Option("--family", help="Only these families; repeatable.")] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="evolution, best-of-n, random, tpe, cmaes, nsga2, gp (optuna is tpe); settings follow a colon, as in "
            "evolution:population=map-elites."
        ),
    ] = "evolution",
    effort: Annotated[str, typer.Option(help="quick, standard or thorough: see configs/effort.yaml.")] = "standard",
    budget: Annotated[int | None, typer.Option(help="Maximum number of candidates; overrides the effort.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Maximum minutes of search; overrides the effort. Timing the baselines comes before them, finals and "
            "export after them. Several shapes share them."
        ),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            help="Early stopping: stop when the next 20 candidates are expected to improve the best time by less than "
            "this many percent; default: never."
        ),
    ] = None,
    warm_start: Annotated[
        str,
        typer.Option(
            help="auto starts from the best genomes of the most similar earlier run and reuses earlier results; none "
            "does neither; a run (its number, latest or best) starts from that one."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    max_registers: Annotated[int | None, typer.Option(help="Reject kernels with more registers per thread.")] = None,
    max_shared_kib: Annotated[
        float | None, typer.Option(help="Reject kernels with more shared memory per block.")
    ] = None,
    no_spills: Annotated[bool, typer.Option("--no-spills", help="Reject kernels that spill registers.")] = False,
    sanitize: options.Sanitize = False,
    baseline: options.Baselines = None,
    jobs: options.Jobs = None,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    debug: options.Debug = None,
    calls: options.Calls = None,
    report: options.Report = None,
    verbose: options.Verbose = None,
    events: Events = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search for the fastest correct kernel of a shape, or of several, and export it."""
    hush(quiet)
    settings = config.load(
        target=target,
        arch=arch,
        jobs=jobs,
        templates=templates,
        db=db,
        cache=cache,
        debug=debug,
        calls=calls,
        report=report,
        verbose=verbose,
    )
    proposers.require(strategy)
    for name in family or ():
        families.named(name, settings.templates)
    device = _detect(settings)
    shapes = chosen_shapes(problem, shape, dtype, settings, device.name)
    if device.name == "cpu":
        options.refuse(
            context,
            ("arch", "max_registers", "max_shared_kib", "no_spills"),
            "for CPU kernels, which are searched here",
        )
    if sanitize:
        sanitizers.require(device)
    limits = Limits(
        max_registers=max_registers,
        max_shared_bytes=None if max_shared_kib is None else int(max_shared_kib * 1024),
        max_spill_bytes=0 if no_spills else None,
    )
    limited = {"budget": budget, "minutes": minutes, "patience_percent": patience}
    spend = config.effort(effort, device.name, settings.templates, **limited)
    beside = rivals.chosen(baseline, shapes.values(), device.name)
    tasks = [shapes] if score is Score.ROBUST else [{name: problem} for name, problem in shapes.items()]
    chosen = _families(tasks, device, tuple(family or ()), settings)
    if sanitize:
        _require_compiled(chosen, settings)
    plans = [
        Plan.make(
            each,
            device,
            spend,
            settings,
            effort_name=effort,
            families=own,
            strategy=strategy,
            seed=seed + number,  # otherwise all shapes would try the same genomes first
            limits=limits,
            warm=_warm(warm_start, each, device, settings),
            reuse=warm_start != "none",
            sanitize=sanitize,
            rivals=beside,
        )
        for number, (each, own) in enumerate(zip(tasks, chosen, strict=True))
    ]
    run_search(plans, device, settings, (), out, events, as_json, quiet)


def resume(
    run: Run = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    report: options.Report = None,
    events: Events = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Resume an interrupted search, with all its shapes."""
    hush(quiet)
    settings = config.load(db=db, cache=cache, report=report)
    with RunStore.open(settings.db) as store:
        asked = run_of(store, run)
        group = store.group(asked.id)
    if all(each.status == "done" for each in group):
        raise UsageError(f"run {asked.id} is done; see `evoflash runs best {asked.id}`, or start a new search")
    begun = [each for each in group if each.candidates or each.status != "failed"] or group
    for each in group:
        if each not in begun:
            say(f"run {each.id} failed before its first candidate and is left out: {each.stop_reason}")
    plans = [Plan.model_validate(each.plan) for each in begun]
    device = targets.detect(plans[0].target, plans[0].arch, plans[0].debug)
    run_search(plans, device, settings, [each.id for each in begun], out, events, as_json, quiet)


def _families(
    tasks: Sequence[Mapping[str, Problem]], device: Target, wanted: tuple[str, ...], settings: Settings
) -> list[tuple[str, ...]]:
    """The families of each task.

    Raises:
        SpaceError: for a shape that no family supports, or a requested family that supports none of the shapes.
    """
    chosen = []
    for shapes in tasks:
        every = len(tasks) == 1
        chosen.append(
            choose_families(list(shapes.values()), device, wanted, settings.templates, need_all=every, say=say)
        )
    idle = [name for name in wanted if not any(name in own for own in chosen)]
    if idle:
        raise SpaceError(f"family {idle[0]} supports none of the shapes; leave it out, or choose another shape")
    return chosen


def _require_compiled(chosen: Sequence[tuple[str, ...]], settings: Settings) -> None:
    """Raises UsageError for a family that a sanitizer cannot watch."""
    for name in dict.fromkeys(each for own in chosen for each in own):
        if load(name, settings.templates).language == "python":
            raise UsageError(
                f"--sanitize cannot watch the Python kernels of {name}; leave it out, or name others by --family"
            )


def _warm(
    wanted: str, shapes: Mapping[str, Problem], device: Target, settings: Settings
) -> tuple[warm_start.Known, ...]:
    """The genomes to start from, according to --warm-start; similarity is that of the first shape."""
    name, problem = next(iter(shapes.items()))
    if wanted not in ("auto", "none") and not is_run(wanted):
        raise UsageError(
            f"--warm-start takes auto, none or a run (its number, latest or best), not {wanted!r}; "
            "see `evoflash runs list`"
        )
    if wanted == "none":
        return ()
    try:
        store = RunStore.open(settings.db)
    except NotFoundError:  # the first run of a database
        if wanted == "auto":
            return ()
        raise
    with store:
        run = (
            warm_start.nearest(store, problem, device.device, device.name)
            if wanted == "auto"
            else RunWord.parse(wanted).find(store)
        )
        found = warm_start.best_of(store, run) if run is not None else ()
    if run is not None and found:
        say(f"{name}: starts from the best {len(found)} genomes of run {run.id} ({run.problem_label})")
    return found


def _detect(settings: Settings) -> Target:
    if settings.target == "auto":
        missing = targets.why_not_cuda()
        if missing:
            say(f"searching CPU kernels: {missing.split(';')[0]}")
    return targets.detect(settings.target, settings.arch, settings.debug)
