"""Running a search from the command line: progress, interruption, export and results."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from evoflash import config
from evoflash.api.exporting import Exported, export
from evoflash.api.prepared import PreparedSearch
from evoflash.api.run import Run
from evoflash.cli import report as html_report
from evoflash.config import Settings
from evoflash.core.record import Document
from evoflash.errors import MissingError, NoPackageError, NothingCorrectError, StorageError
from evoflash.export.call_times import Calls
from evoflash.export.runs import package_name
from evoflash.progress import SilentProgress
from evoflash.report import run_sheets as sheets
from evoflash.report.events import Events
from evoflash.report.live import Counts, Devices, Shown, progress_of
from evoflash.report.runs import Best
from evoflash.report.summary import Summary, next_commands, print_summary
from evoflash.report.tables import print_document, print_sheets
from evoflash.run.plan import Plan
from evoflash.search import Outcome, Search
from evoflash.store import RunStore


class SearchResult(Best):
    """The winner of a search.

    Attributes:
        shape: what was searched, as the user wrote it.
        export: the folder of its package; None where no package can ask its kernel.
        calls: the times of the package's calls from Python, where they were taken.
    """

    shape: str
    export: str | None
    calls: Calls | None = None


class SearchDocument(Document):
    """What a search has found.

    Attributes:
        results: one for each shape of which a kernel was correct; with `--score robust` one for all.
    """

    results: tuple[SearchResult, ...]


def run_search(prepared: PreparedSearch, out: Path | None, events: bool, as_json: bool, quiet: bool) -> None:
    """Runs a search, shows its progress, then exports and shows the results.

    Args:
        out: folder of the package; with several tasks, the parent folder of the packages.
        events: print progress as JSON events.
        quiet: print nothing but the result.

    Raises:
        KeyboardInterrupt: after printing how to resume.
        NothingCorrectError: after the export of the others, when no correct kernel was found for one of the tasks.
    """
    plans = prepared.plans
    with prepared.database() as store:
        for plan in plans:
            say(f"{plan.title}: {plan.label} on {prepared.device.device}; families: {', '.join(plan.families)}")
        with watched(prepared, store, events=events, quiet=quiet) as engine:
            try:
                outcomes = engine.run()
            except KeyboardInterrupt:
                _interrupted(engine)
                raise
            prepared.mirror(engine, outcomes)
        say(f"{'; '.join(dict.fromkeys(each.reason for each in outcomes))}; {outcomes[0].throughput}")
    _finish(prepared, outcomes, out, as_json)


@contextlib.contextmanager
def watched(prepared: PreparedSearch, store: RunStore, *, events: bool, quiet: bool) -> Iterator[Search]:
    """The search, which has not begun yet, and whose progress is shown meanwhile."""
    with SilentProgress() if quiet else Events() if events else _shown(prepared, store) as progress:
        engine = prepared.search(store, progress)
        if isinstance(progress, Shown):
            progress.counts.watch(lambda: engine.work)
        yield engine


def _shown(prepared: PreparedSearch, store: RunStore) -> Shown:
    """Progress for people, which knows what is on record of the runs to resume."""
    plans, effort = prepared.plans, prepared.plans[0].effort
    title = f"{', '.join(plan.title for plan in plans)} on {prepared.device.device}"
    # Those of a cluster have names of their hosts', by which their results tell them.
    labels = [each.label for each in prepared.devices] if prepared.cluster is None else []
    counts = Counts(effort.budget, effort.minutes, title, [plan.title for plan in plans], devices=Devices(labels))
    for plan, run_id in zip(plans, prepared.run_ids, strict=False):  # none for new runs
        counts.recall(plan.title, store.outcomes(run_id))
    return progress_of(counts, plain=prepared.settings.verbose)


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


def _finish(prepared: PreparedSearch, outcomes: Sequence[Outcome], out: Path | None, as_json: bool) -> None:
    """Exports and shows the result of each task.

    Raises:
        NothingCorrectError: after the export of the others, when no correct kernel was found for a task.
    """
    results, failures, summaries, exports = [], [], [], []
    for plan, outcome in zip(prepared.plans, outcomes, strict=True):
        if outcome.finals is None:
            failures.append(f"run {outcome.run_id} ({plan.title}, {outcome.reason})")
            continue
        own = out / package_name([plan]) if out is not None and len(outcomes) > 1 else out
        run = Run(outcome.run_id, prepared.settings.db)
        exported = _exported(prepared, run, own)
        best, folder, calls = run.best, exported and exported.folder, exported and exported.calls
        results.append(
            SearchResult(
                **best.model_dump(), shape=plan.title, export=str(folder) if folder is not None else None, calls=calls
            )
        )
        if as_json:
            continue
        if len(outcomes) > 1:
            print(f"{plan.title}\n")
        if not sys.stdout.isatty():  # a screen has the summary, and `runs show` has the tables
            print_sheets(*sheets.finals_sheets(outcome.finals, run.details.finalist_ids))
        if calls is not None:
            print(f"{calls}\n")
        with RunStore.open(prepared.settings.db) as store:
            summaries.append(Summary.of(store, outcome.run_id, plan.title))
        exports += [str(folder)] if folder is not None else []
    if as_json and results:
        print_document(SearchDocument(results=tuple(results)))
    if summaries:
        own_db = None if config.load().db == prepared.settings.db else prepared.settings.db
        has_dashboard = importlib.util.find_spec("optuna_dashboard") is not None
        print_summary(summaries, exports, next_commands(summaries, db=own_db, has_dashboard=has_dashboard))
    _doubt(prepared.plans, outcomes)
    if prepared.settings.report:
        _report([outcome.run_id for outcome in outcomes], prepared.settings)
    if failures:
        raise NothingCorrectError(
            f"nothing correct was found in {' and '.join(failures)}; "
            f"`evoflash runs show {failures[0].split()[1]}` shows how its candidates failed"
        )


def _exported(prepared: PreparedSearch, run: Run, out: Path | None) -> Exported | None:
    """The export of a run's winner; None, and a word about it, where no package can ask its kernel."""
    try:
        return export(prepared.settings, [run.id], out, calls=prepared.settings.calls, say=say)
    except NoPackageError as error:
        say(str(error))
        return None


def _report(run_ids: Sequence[int], settings: Settings) -> None:
    """Writes the report of the runs and says where; or why there is none, which is no fault of the search."""
    try:
        with RunStore.open(settings.db) as store:
            path = html_report.write(store, run_ids, html_report.default_path(settings.db, run_ids))
    except (MissingError, StorageError) as error:
        say(f"no report: {error}")
    else:
        say(f"report: {path}")


def _doubt(plans: Sequence[Plan], outcomes: Sequence[Outcome]) -> None:
    """Says which finals were disturbed."""
    for plan, outcome in zip(plans, outcomes, strict=True):
        for held in (outcome.finals, *outcome.finals.elsewhere) if outcome.finals is not None else ():
            if held.conditions.doubt:
                where = f" on {held.conditions.device}" if held.conditions.device else ""
                say(
                    f"{plan.title}, finals{where}: {held.conditions.doubt}; measure again on a quiet machine: "
                    f"`evoflash bench --kernel run:{outcome.run_id}`"
                )


def hush(quiet: bool) -> None:
    """Whether `say` says nothing from now on, as --quiet asks."""
    _QUIET.set(quiet)


def say(text: str, *, always: bool = False) -> None:
    """Prints a line to standard error and flushes it; `always` even under --quiet."""
    if always or not _QUIET.get():
        print(text, file=sys.stderr, flush=True)


_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
