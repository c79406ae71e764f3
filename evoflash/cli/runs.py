"""`evoflash runs`: lists the runs, shows one, and shows its best candidate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config
from evoflash.api.words import run_of
from evoflash.cli.words import Run
from evoflash.replay.recorded_file import require_name
from evoflash.replay.stored import of_run
from evoflash.report import run_sheets as sheets
from evoflash.report import runs as report
from evoflash.report.runs import InsightList, RunList
from evoflash.report.tables import print_document, print_json, print_sheets
from evoflash.store import RunStore

Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="SQLite file, or postgresql+psycopg://USER@HOST/NAME; default: runs/evoflash.db.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app = typer.Typer(no_args_is_help=True, help="Inspect recorded runs.")


def reading(db: str | None) -> RunStore:
    """Opens the database for reading."""
    return RunStore.open(config.load(db=db).db)


@app.command("list", epilog="Example: evoflash runs list")
def list_runs(db: Database = None, as_json: AsJson = False) -> None:
    """List all runs with their settings and best times."""
    with reading(db) as store:
        runs = store.runs()
    if as_json:
        print_document(RunList(runs=tuple(runs)))
    elif runs:
        print_sheets(sheets.runs_sheet(runs))
    else:
        print("no runs yet; start one with `evoflash search`", file=sys.stderr)


@app.command("show", epilog="Example: evoflash runs show latest")
def show_run(run: Run = None, db: Database = None, as_json: AsJson = False) -> None:
    """Show a run: settings, machine, counts, convergence, finals, insights."""
    with reading(db) as store:
        found = report.report(store, run_of(store, run).id)
    if as_json:
        print_document(found)
    else:
        print_sheets(*sheets.run_sheets(found))


@app.command("insights", epilog="Example: evoflash runs insights latest --all")
def show_insights(
    run: Run = None,
    every: Annotated[bool, typer.Option("--all", help="Show all generations, not only the last.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Show insights into a run: important genes, values that fail, genes without effect, limits of the best kernel."""
    with reading(db) as store:
        summary = run_of(store, run)
        found = [each for each in store.insights(summary.id) if each.generation > 0]
    last = max((each.generation for each in found), default=0)
    found = [each for each in found if every or each.generation == last]
    if as_json:
        print_document(InsightList(run=summary.id, insights=tuple(found)))
    elif found:
        print_sheets(sheets.insights_sheet(found))
    else:
        print(f"run {summary.id} has too few results for insights", file=sys.stderr)


@app.command("export-t4", epilog="Example: evoflash runs export-t4 latest --out run.t4.json.gz")
def export_t4(
    run: Run = None,
    out: Annotated[Path | None, typer.Option("--out", help="File; default: standard output.")] = None,
    db: Database = None,
) -> None:
    """Write a run as T4 results, for other tuners and `evoflash replay`."""
    if out is not None:
        require_name(out)
    with reading(db) as store:
        summary = run_of(store, run)
        found = of_run(store, summary)
    if out is None:
        print_json(found.document())
        return
    found.write(out)
    print(f"run {summary.id}: {len(found.results)} configurations in {out}", file=sys.stderr)


@app.command("best", epilog="Example: evoflash runs best --json")
def best_candidate(run: Run = None, db: Database = None, as_json: AsJson = False) -> None:
    """Show the fastest correct candidate of a run, compared with the baselines."""
    with reading(db) as store:
        found = report.best(store, run_of(store, run).id)
    if found.vs_best is None:
        print(f"run {found.run} has no finals with this candidate: the time is that of the search", file=sys.stderr)
    if as_json:
        print_document(found)
    else:
        print_sheets(sheets.best_sheet(found))
