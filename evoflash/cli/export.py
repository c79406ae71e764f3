"""`evoflash export`: writes a run's winner, or any candidate, as a package that does not need evoflash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evoflash import config
from evoflash.api import exporting
from evoflash.api.words import run_of
from evoflash.cli.running import say
from evoflash.cli.runs import AsJson, Database
from evoflash.cli.words import CandidateOption, Runs
from evoflash.errors import UsageError
from evoflash.export.formats import FORMATS
from evoflash.export.runs import PACKAGE
from evoflash.report.tables import print_document
from evoflash.store import RunStore


def export(
    runs: Runs = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder; default: runs/exports/….")] = None,
    candidate: CandidateOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the Python package.")] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="RANGES",
            help="Measure where the kernels are faster than SDPA, and ask them there alone; e.g. "
            "lengths=64..4096,batches=1..8,minutes=5.",
        ),
    ] = None,
    prebuilt: Annotated[
        bool, typer.Option("--prebuilt", help="Put the built libraries beside the source: no compiler is needed.")
    ] = False,
    wheel: Annotated[
        bool, typer.Option("--wheel", help="Make a wheel for this platform, with the built libraries, in dist/.")
    ] = False,
    form: Annotated[
        str,
        typer.Option("--format", help=f"What is written: package, {', '.join(FORMATS)}; the others have one kernel."),
    ] = PACKAGE,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Write winners as an installable package: source, operators for PyTorch, a drop-in for SDPA and a self-test.

    The kernels of several runs share a package: of other lengths, dtypes, head sizes or masks.
    """
    settings = config.load(db=db)
    if candidate is not None and runs:
        raise UsageError("a candidate names its run; leave out either the run or --candidate")
    with RunStore.open(settings.db) as store:
        if candidate is None:
            chosen, numbers = None, [run_of(store, run).id for run in runs or [None]]
        else:
            chosen = candidate.find(store)
            numbers = [store.candidate(chosen).run_id]
    found = exporting.export(
        settings,
        numbers,
        out,
        candidate=chosen,
        name=name,
        sweep=sweep,
        prebuilt=prebuilt,
        wheel=wheel,
        form=form,
        say=say,
    )
    if as_json:
        print_document(found)
        return
    print(found.folder)
    if found.wheel is not None:
        print(found.wheel)
