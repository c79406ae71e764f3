"""`evoflash search` and `evoflash resume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, problems, proposers, targets
from evoflash.cli import options
from evoflash.cli.running import run_search, say
from evoflash.cli.runs import AsJson, Database, Run
from evoflash.config import Settings
from evoflash.errors import NotFoundError, SpaceError, UsageError
from evoflash.evaluator import Limits, sanitizers
from evoflash.problems import Problem
from evoflash.run import warm_start
from evoflash.run.plan import Plan, choose_families
from evoflash.store import RunStore
from evoflash.targets import Target

Events = Annotated[
    bool, typer.Option("--events", help="Progress as JSON, one object a line on standard error, for programs.")
]


class Score(StrEnum):
    """What a search over several shapes is after."""

    EACH = "each"
    ROBUST = "robust"


def search(
    shape: options.Shapes = None,
    score: Annotated[
        Score,
        typer.Option(
            help="Of several shapes: each finds the fastest kernel of every one, with one budget and a shared history; "
            "robust finds one kernel that serves all, by the geometric mean of its times."
        ),
    ] = Score.EACH,
    dtype: options.Dtype = None,
    target: options.TargetName = None,
    arch: options.Arch = None,
    family: Annotated[list[str] | None, typer.Option("--family", help="Only these families; repeatable.")] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="evolution, best-of-n, random, tpe, cmaes, nsga2, gp (optuna is tpe); settings after a colon, as in "
            "evolution:population=map-elites."
        ),
    ] = "evolution",
    effort: Annotated[str, typer.Option(help="quick, standard or thorough: see configs/effort.yaml.")] = "standard",
    budget: Annotated[int | None, typer.Option(help="Candidates at most; overrides the effort's.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes at most; overrides the effort's.")] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            help="Stop when the next 20 candidates are expected to make the best less than so many percent faster; "
            "default: never."
        ),
    ] = None,
    warm_start: Annotated[
        str,
        typer.Option(
            help="auto begins with the best of the nearest earlier run and takes results over; none does neither; or "
            "the number of a run."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    max_registers: Annotated[int | None, typer.Option(help="Refuse kernels that take more registers a thread.")] = None,
    max_shared_kib: Annotated[
        float | None, typer.Option(help="Refuse kernels that take more shared memory a block.")
    ] = None,
    no_spills: Annotated[bool, typer.Option("--no-spills", help="Refuse kernels that spill registers.")] = False,
    sanitize: options.Sanitize = False,
    jobs: options.Jobs = None,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    debug: options.Debug = None,
    verbose: options.Verbose = None,
    events: Events = False,
    as_json: AsJson = False,
) -> None:
    """Search for the fastest correct kernel of a shape, or of several, and export it."""
    settings = config.load(
        target=target, arch=arch, jobs=jobs, templates=templates, db=db, cache=cache, debug=debug, verbose=verbose
    )
    proposers.require(strategy)
    shapes = problems.parse_all(shape or ["mission"], dtype, settings.templates)
    device = _detect(settings)
    if sanitize:
        sanitizers.require(device)
    limits = Limits(
        max_registers=max_registers,
        max_shared_bytes=None if max_shared_kib is None else int(max_shared_kib * 1024),
        max_spill_bytes=0 if no_spills else None,
    )
    limited = {"budget": budget, "minutes": minutes, "patience_percent": patience}
    spend = config.effort(effort, device.name, settings.templates, **limited)
    tasks = [shapes] if score is Score.ROBUST else [{name: problem} for name, problem in shapes.items()]
    chosen = _families(tasks, device, tuple(family or ()), settings)
    plans = [
        Plan.make(
            each,
            device,
            spend,
            settings,
            effort_name=effort,
            families=families,
            strategy=strategy,
            seed=seed + number,  # else all shapes would begin with the same genomes, and had nothing to tell each other
            limits=limits,
            warm=_warm(warm_start, each, device, settings),
            reuse=warm_start != "none",
            sanitize=sanitize,
        )
        for number, (each, families) in enumerate(zip(tasks, chosen, strict=True))
    ]
    run_search(plans, device, settings, (), out, events, as_json)


def resume(
    run: Run = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    events: Events = False,
    as_json: AsJson = False,
) -> None:
    """Go on with an interrupted search, all shapes of it, as if it had not been interrupted."""
    settings = config.load(db=db, cache=cache)
    with RunStore.open(settings.db) as store:
        asked, group = store.run(run), store.group(run)
    if all(each.status == "done" for each in group):
        raise UsageError(f"run {asked.id} is done; see `evoflash runs best {asked.id}`, or begin a new search")
    begun = [each for each in group if each.candidates or each.status != "failed"] or group
    for each in group:
        if each not in begun:
            say(f"run {each.id} failed before its first candidate and is left out: {each.stop_reason}")
    plans = [Plan.model_validate(each.plan) for each in begun]
    device = targets.detect(plans[0].target, plans[0].arch, plans[0].debug)
    run_search(plans, device, settings, [each.id for each in begun], out, events, as_json)


def _families(
    tasks: Sequence[Mapping[str, Problem]], device: Target, wanted: tuple[str, ...], settings: Settings
) -> list[tuple[str, ...]]:
    """The families of each task.

    Raises:
        SpaceError: for a shape that none takes, or a wanted family that takes no shape.
    """
    chosen = []
    for shapes in tasks:
        every = len(tasks) == 1
        chosen.append(choose_families(list(shapes.values()), device, wanted, settings.templates, need_all=every))
    idle = [name for name in wanted if not any(name in families for families in chosen)]
    if idle:
        raise SpaceError(f"family {idle[0]} takes none of the shapes; leave it out, or choose another shape")
    return chosen


def _warm(
    wanted: str, shapes: Mapping[str, Problem], device: Target, settings: Settings
) -> tuple[warm_start.Known, ...]:
    """Genomes to begin with, by what --warm-start says; of several shapes the first decides what is near."""
    name, problem = next(iter(shapes.items()))
    if wanted not in ("auto", "none") and not wanted.isdecimal():
        raise UsageError(
            f"--warm-start takes auto, none or the number of a run, not {wanted!r}; see `evoflash runs list`"
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
            else store.run(int(wanted))
        )
        found = warm_start.best_of(store, run) if run is not None else ()
    if run is not None and found:
        say(f"{name}: begins with the best {len(found)} of run {run.id} ({run.problem_label})")
    return found


def _detect(settings: Settings) -> Target:
    if settings.target == "auto":
        missing = targets.why_not_cuda()
        if missing:
            say(f"searching CPU kernels: {missing.split(';')[0]}")
    return targets.detect(settings.target, settings.arch, settings.debug)
