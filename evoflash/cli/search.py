"""`evoflash search` and `evoflash resume`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, memory, problems, proposers, targets
from evoflash.cli import options
from evoflash.cli.export import export_run
from evoflash.cli.runs import AsJson, Database, Run
from evoflash.config import Settings
from evoflash.errors import NotFoundError, NothingCorrectError, StorageError, UsageError
from evoflash.evaluator import Limits, sanitizers
from evoflash.plan import Plan, choose_families
from evoflash.problems import Problem
from evoflash.report import run_sheets as sheets
from evoflash.report import runs as report
from evoflash.report.live import LiveProgress
from evoflash.report.tables import print_json, print_sheets
from evoflash.search import Outcome, Search
from evoflash.store import RunStore, StudyMirror
from evoflash.targets import Target
from evoflash.toolchain import Toolchain


def search(
    shape: options.Shape = "mission",
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
        int | None, typer.Option(help="Stop after so many results without a gain of 0.5 %; default: never.")
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
    as_json: AsJson = False,
) -> None:
    """Search for the fastest correct kernel of a shape, and export it."""
    settings = config.load(
        target=target, arch=arch, jobs=jobs, templates=templates, db=db, cache=cache, debug=debug, verbose=verbose
    )
    proposers.require(strategy)
    problem = problems.parse(shape, dtype, settings.templates)
    device = _detect(settings)
    if sanitize:
        sanitizers.require(device)
    limits = Limits(
        max_registers=max_registers,
        max_shared_bytes=None if max_shared_kib is None else int(max_shared_kib * 1024),
        max_spill_bytes=0 if no_spills else None,
    )
    plan = Plan.make(
        problem,
        device,
        config.effort(effort, device.name, settings.templates, budget=budget, minutes=minutes, patience=patience),
        settings,
        shape=shape,
        effort_name=effort,
        families=choose_families(problem, device, tuple(family or ()), settings.templates),
        strategy=strategy,
        seed=seed,
        limits=limits,
        warm=_warm(warm_start, problem, device, settings),
        reuse=warm_start != "none",
        sanitize=sanitize,
    )
    _run(plan, device, settings, None, out, as_json)


def resume(
    run: Run = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with an interrupted run as if it had not been interrupted."""
    settings = config.load(db=db, cache=cache)
    with RunStore.open(settings.db) as store:
        summary = store.run(run)
    if summary.status == "done":
        raise UsageError(f"run {summary.id} is done; see `evoflash runs best {summary.id}`, or begin a new search")
    plan = Plan.model_validate(summary.plan)
    device = targets.detect(plan.target, plan.arch, plan.debug)
    _run(plan, device, settings, summary.id, out, as_json)


def _warm(wanted: str, problem: Problem, device: Target, settings: Settings) -> tuple[memory.Known, ...]:
    """Genomes to begin with, by what --warm-start says."""
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
        run = memory.nearest(store, problem, device.device, device.name) if wanted == "auto" else store.run(int(wanted))
        found = memory.best_of(store, run) if run is not None else ()
    if run is not None and found:
        _say(f"begins with the best {len(found)} of run {run.id} ({run.problem_label})")
    return found


def _detect(settings: Settings) -> Target:
    if settings.target == "auto":
        missing = targets.why_not_cuda()
        if missing:
            _say(f"searching CPU kernels: {missing.split(';')[0]}")
    return targets.detect(settings.target, settings.arch, settings.debug)


def _run(plan: Plan, device: Target, settings: Settings, run_id: int | None, out: Path | None, as_json: bool) -> None:
    toolchain = Toolchain(device, settings.cache, plan.build_deadline_s, settings.verbose)
    toolchain.require_writable()
    problem = plan.make_problem()
    with RunStore.open(settings.db, write=True) as store:
        _say(f"{plan.shape}: {problem.label} on {device.device}; families: {', '.join(plan.families)}")
        with LiveProgress(plan) as progress:
            engine = Search(plan, device, toolchain, store, progress, run_id)
            try:
                outcome = engine.run()
            except KeyboardInterrupt:
                _interrupted(engine)
                raise
        _finish(engine, outcome, store, settings, out, as_json)


def _interrupted(engine: Search) -> None:
    best = engine.best
    found = (
        f"best so far {best.fitness_us:.2f} us (#{best.candidate.index} {best.candidate.family})"
        if best
        else "nothing yet"
    )
    goes_on = (
        f"; `evoflash resume {engine.run_id}` goes on" if engine.run_id is not None else ""
    )  # else it had not begun
    _say(f"interrupted after {len(engine.archive)} candidates; {found}{goes_on}")


def _finish(
    engine: Search, outcome: Outcome, store: RunStore, settings: Settings, out: Path | None, as_json: bool
) -> None:
    winner = outcome.finals.winner if outcome.finals else None
    _say(f"{outcome.reason}; {outcome.throughput}")
    if winner is not None:
        folder = export_run(store, outcome.run_id, out, settings)
        found = report.report(store, outcome.run_id)
        best = report.best(store, outcome.run_id)
        if as_json:
            print_json({**asdict(best), "export": str(folder)})
        else:
            assert found.finals is not None
            print_sheets(*sheets.finals_sheets(found.finals, found.finalist_ids), sheets.best_sheet(best))
            print(f"exported to {folder}")
    try:
        spaces = {
            family: {name: parameter.values for name, parameter in space.parameters.items()}
            for family, space in engine.spaces.items()
        }
        mirror = StudyMirror(settings.db, outcome.run_id, engine.plan.strategy, spaces)
        mirror.sync((member.candidate, member.evaluation) for member in engine.archive)
    except StorageError as error:
        _say(f"optuna-dashboard will not show this run: {error}")
    if winner is None:
        raise NothingCorrectError(
            f"run {outcome.run_id} found nothing correct; "
            f"`evoflash runs show {outcome.run_id}` says how its candidates failed"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
