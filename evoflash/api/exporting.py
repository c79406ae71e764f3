"""Exports, with what is done to them after their files are written: built libraries, a wheel, the times of calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from evoflash.config import Settings
from evoflash.core.record import Document
from evoflash.errors import UsageError, WorkerError, unknown
from evoflash.export.call_times import Calls
from evoflash.export.calls import measure
from evoflash.export.formats import FORMATS
from evoflash.export.package import package_in
from evoflash.export.prebuilt import prebuild
from evoflash.export.prebuilt import wheel as make_wheel
from evoflash.export.runs import CALLS, PACKAGE, export_runs, variables_of
from evoflash.export.sweep import Sweep
from evoflash.report import runs as report
from evoflash.store import RunStore

Say = Callable[[str], None]


class Exported(Document):
    """Winners that have been written as a package, or in another form.

    Attributes:
        folder: where they are.
        package: the name of the Python package in it; None in a form that is none.
        format: what was written, e.g. "package".
        runs: the runs whose kernels it has.
        candidate: the candidate, where one was named.
        wheel: the path of the wheel, where one was asked for.
        calls: the times of its calls from Python, where they were asked for and could be taken.
    """

    folder: Path
    package: str | None
    format: str
    runs: tuple[int, ...]
    candidate: int | None = None
    wheel: Path | None = None
    calls: Calls | None = None


def export(
    settings: Settings,
    runs: Sequence[int],
    out: Path | None = None,
    *,
    candidate: int | None = None,
    name: str | None = None,
    sweep: str | None = None,
    prebuilt: bool = False,
    wheel: bool = False,
    form: str = PACKAGE,
    calls: bool = False,
    say: Say = lambda _: None,
) -> Exported:
    """Writes winners as a package.

    Args:
        runs: their numbers.
        out: the folder; by default one below runs/exports.
        candidate: this candidate in place of the best; `runs` has only its own.
        sweep: ranges in which is measured where the kernels are faster than SDPA.
        calls: time the package's calls from Python, and record them with the run.
        say: is told what takes time, and what was left out.

    Raises:
        UsageError: for a form or sweep that does not exist, or means nothing beside the other arguments.
        NoPackageError: for a kernel that no package can ask.
        NothingCorrectError: when a run has no correct candidate.
        StorageError: when the folder cannot be written.
    """
    ranges = Sweep.parse(sweep) if sweep is not None else None
    if form != PACKAGE and form not in FORMATS:
        raise unknown("format", form, (PACKAGE, *FORMATS))
    if form != PACKAGE and (sweep is not None or prebuilt or wheel or len(runs) > 1):
        raise UsageError(f"the format {form} is one kernel's source; leave out --sweep, --prebuilt, --wheel, more runs")
    own: tuple[Sequence[int], Path | None, int | None, str | None] = (runs, out, candidate, name)
    with RunStore.open(settings.db, write=calls) as store:
        folder = export_runs(store, *own, ranges, prebuilt or wheel, form, say)
        package = package_in(folder)
        times = None
        if calls and package is not None:
            chosen = candidate if candidate is not None else report.best(store, runs[0]).candidate
            times = _time_calls(store, runs[0], chosen, folder, package, say)
        if times is not None:
            folder = export_runs(store, *own, ranges, prebuilt or wheel, form)  # with the times in its README
    if package is not None and (prebuilt or wheel):
        prebuild(folder, package)
    return Exported(
        folder=folder,
        package=package,
        format=form,
        runs=tuple(runs),
        candidate=candidate,
        wheel=make_wheel(folder, package) if wheel and package is not None else None,
        calls=times,
    )


def _time_calls(store: RunStore, run: int, candidate: int, folder: Path, package: str, say: Say) -> Calls | None:
    """Times an export's calls and records them with the run; None, and a word about it, where they cannot be timed."""
    say("timing calls of the export from Python")
    try:
        calls = measure(folder, package, variables_of(store.run(run)))
    except WorkerError as error:
        say(str(error))
        return None
    store.record_insight(run, 0, CALLS, str(calls), {**calls.model_dump(mode="json"), "candidate": candidate})
    return calls
