"""Running a search from the command line: progress, interruption, export and results."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path

from evoflash import config
from evoflash.cli import report as html_report
from evoflash.cli.export import CALLS, export_runs, package_name
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.errors import MissingError, NoPackageError, NothingCorrectError, StorageError, WorkerError
from evoflash.export.call_times import Calls
from evoflash.export.calls import measure
from evoflash.export.package import package_in
from evoflash.report import run_sheets as sheets
from evoflash.report import runs as report
from evoflash.report.events import Events
from evoflash.report.live import Counts, QuietProgress, Shown, progress_of
from evoflash.report.summary import Summary, next_commands, print_summary
from evoflash.report.tables import print_json, print_sheets
from evoflash.run.plan import Plan
from evoflash.run.task import Task
from evoflash.search import Outcome, Search
from evoflash.store import RunStore, StudyMirror
from evoflash.targets import Target


def run_search(
    plans: Sequence[Plan],
    device: Target,
    settings: Settings,
    run_ids: Sequence[int],
    out: Path | None,
    events: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Runs a search, shows its progress, then exports and shows the results.

    Args:
        run_ids: the runs to resume; empty for new runs.
        out: folder of the package; with several tasks, the parent folder of the packages.
        events: print progress as JSON events.
        quiet: print nothing but the result.

    Raises:
        KeyboardInterrupt: after printing how to resume.
        NothingCorrectError: when no correct kernel was found for one of the tasks.
    """
    toolchain = Toolchain(device, settings.cache, plans[0].build_deadline_s, settings.verbose, many=True)
    toolchain.require_writable()
    with RunStore.open(settings.db, write=True) as store:
        for plan in plans:
            say(f"{plan.title}: {plan.label} on {device.device}; families: {', '.join(plan.families)}")
        with (
            QuietProgress()
            if quiet
            else Events()
            if events
            else _shown(plans, run_ids, device, store, settings) as progress
        ):
            engine = Search(plans, device, toolchain, store, progress, run_ids)
            if isinstance(progress, Shown):
                progress.counts.watch(lambda: engine.work)
            try:
                outcomes = engine.run()
            except KeyboardInterrupt:
                _interrupted(engine)
                raise
        say(f"{'; '.join(dict.fromkeys(each.reason for each in outcomes))}; {outcomes[0].throughput}")
        _finish(engine, outcomes, store, settings, out, as_json)


def _shown(plans: Sequence[Plan], run_ids: Sequence[int], device: Target, store: RunStore, settings: Settings) -> Shown:
    """Progress for people, which knows what is on record of the runs to resume."""
    effort = plans[0].effort
    title = f"{', '.join(plan.title for plan in plans)} on {device.device}"
    counts = Counts(effort.budget, effort.minutes, title, [plan.title for plan in plans])
    for plan, run_id in zip(plans, run_ids, strict=False):  # none for new runs
        counts.recall(plan.title, store.outcomes(run_id))
    return progress_of(counts, plain=settings.verbose)


def _export(
    store: RunStore, run: int, candidate: int, out: Path | None, settings: Settings
) -> tuple[Path | None, Calls | None]:
    """The folder of the export, and the times of its calls; None, and a word about it, where there are none."""
    try:
        folder = export_runs(store, [run], out, settings)
    except NoPackageError as error:
        say(str(error))
        return None, None
    calls = _time_calls(store, run, candidate, folder) if settings.calls else None
    if calls is not None:
        folder = export_runs(store, [run], out, settings)  # with the times in its README
    return folder, calls


def _time_calls(store: RunStore, run: int, candidate: int, folder: Path) -> Calls | None:
    """Times the export's calls and records them with the run; None, and a word about it, where they cannot be timed."""
    name = package_in(folder)
    if name is None:
        return None
    say("timing calls of the export from Python")
    try:
        calls = measure(folder, name)
    except WorkerError as error:
        say(str(error))
        return None
    store.record_insight(run, 0, CALLS, str(calls), {**calls.model_dump(mode="json"), "candidate": candidate})
    return calls


def _report(store: RunStore, run_ids: Sequence[int], settings: Settings) -> None:
    """Writes the report of the runs and says where; or why there is none, which is no fault of the search."""
    try:
        path = html_report.write(store, run_ids, html_report.default_path(settings.db, run_ids))
    except (MissingError, StorageError) as error:
        say(f"no report: {error}")
    else:
        say(f"report: {path}")


def _interrupted(engine: Search) -> None:
    for task in engine.tasks:
        best = task.archive.best
        found = (
            f"best so far {best.fitness_us:.2f} us (#{best.candidate.index} {best.candidate.family})"
            if best
            else "nothing correct yet"
        )
        say(f"{task.plan.title}: interrupted after {len(task.archive)} candidates; {found}", always=True)
    if len(engine.tasks):  # otherwise none has begun
        say(f"`evoflash resume {engine.tasks[0].run_id}` continues it", always=True)


def _finish(
    engine: Search,
    outcomes: Sequence[Outcome],
    store: RunStore,
    settings: Settings,
    out: Path | None,
    as_json: bool,
) -> None:
    """Exports and shows the result of each task.

    Raises:
        NothingCorrectError: after the export of the others, when no correct kernel was found for a task.
    """
    documents, failures, summaries, exports = [], [], [], []
    for task, outcome in zip(engine.tasks, outcomes, strict=True):
        if outcome.finals is None:
            failures.append(f"run {outcome.run_id} ({task.plan.title}, {outcome.reason})")
        else:
            own = out / package_name([task.plan]) if out is not None and len(outcomes) > 1 else out
            best = report.best(store, outcome.run_id)
            folder, calls = _export(store, outcome.run_id, best.candidate, own, settings)
            document = {**asdict(best), "shape": task.plan.title, "export": str(folder) if folder else None}
            documents.append(document | ({"calls": calls.model_dump(mode="json")} if calls is not None else {}))
            if not as_json:
                if len(outcomes) > 1:
                    print(f"{task.plan.title}\n")
                ids = report.report(store, outcome.run_id).finalist_ids
                if not sys.stdout.isatty():  # a screen has the summary, and `runs show` has the tables
                    print_sheets(*sheets.finals_sheets(outcome.finals, ids))
                if calls is not None:
                    print(f"{calls}\n")
                summaries.append(Summary.of(store, outcome.run_id, task.plan.title))
                exports += [str(folder)] if folder is not None else []
        _mirror(task, outcome, settings)
    if as_json and (documents or len(outcomes) > 1):
        print_json(documents if len(outcomes) > 1 else documents[0])
    if summaries:
        own_db = None if config.load().db == settings.db else settings.db
        has_dashboard = importlib.util.find_spec("optuna_dashboard") is not None
        print_summary(summaries, exports, next_commands(summaries, db=own_db, has_dashboard=has_dashboard))
    for task, outcome in zip(engine.tasks, outcomes, strict=True):
        if outcome.finals is not None and outcome.finals.conditions.doubt:
            say(
                f"{task.plan.title}, finals: {outcome.finals.conditions.doubt}; measure again on a quiet machine: "
                f"`evoflash bench --kernel run:{outcome.run_id}`"
            )
    if settings.report:
        _report(store, [outcome.run_id for outcome in outcomes], settings)
    if failures:
        raise NothingCorrectError(
            f"nothing correct was found in {' and '.join(failures)}; "
            f"`evoflash runs show {failures[0].split()[1]}` shows how its candidates failed"
        )


def _mirror(task: Task, outcome: Outcome, settings: Settings) -> None:
    """Copies the run for optuna-dashboard."""
    try:
        spaces = {
            family: {name: parameter.values for name, parameter in space.parameters.items()}
            for family, space in task.families.spaces.items()
        }
        mirror = StudyMirror(settings.db, outcome.run_id, task.plan.strategy, spaces)
        mirror.sync((member.candidate, member.evaluation) for member in task.archive)
    except StorageError as error:
        say(f"optuna-dashboard will not show run {outcome.run_id}: {error}")


def hush(quiet: bool) -> None:
    """Whether `say` says nothing from now on, as --quiet asks."""
    _QUIET.set(quiet)


def say(text: str, *, always: bool = False) -> None:
    """Prints a line to standard error and flushes it; `always` even under --quiet."""
    if always or not _QUIET.get():
        print(text, file=sys.stderr, flush=True)


_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
