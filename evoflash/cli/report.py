"""`evoflash report`: runs as one HTML file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config
from evoflash.api.words import run_of
from evoflash.cli.runs import Database
from evoflash.cli.words import Runs
from evoflash.store import RunStore, location


def report(
    run: Runs = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file; default: reports/run-N.html beside the database.", show_default=False),
    ] = None,
    db: Database = None,
) -> None:
    """Write a run as one HTML file with figures, lineage and source; compare several.

    The file needs no network: send it, or open it in any browser. Example: `evoflash report 3 --out report.html`.
    """
    settings = config.load(db=db)
    with RunStore.open(settings.db) as store:
        ids = list(dict.fromkeys(run_of(store, word).id for word in run or [None]))
        path = write(store, ids, out or default_path(settings.db, ids))
    print(path)
    print(f"open {path.absolute().as_uri()}", file=sys.stderr)


def write(store: RunStore, ids: Sequence[int], path: Path) -> Path:
    """Writes the page.

    Raises:
        MissingError: without the extra `report`.
        StorageError: when the file cannot be written.
    """
    from evoflash.report import html  # loads plotly, which only a report needs

    return html.write(store, ids, path)


def default_path(db: str, ids: Sequence[int]) -> Path:
    """Beside the database; in runs/ where that is no file."""
    database = location.sqlite_path(location.resolve(db))
    folder = Path("runs") if database is None else database.parent
    return folder / "reports" / f"run-{'-'.join(map(str, ids))}.html"
