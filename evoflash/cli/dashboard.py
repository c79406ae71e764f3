"""`evoflash dashboard`: every candidate in a browser."""

from __future__ import annotations

import contextlib
import shlex
import sys
import webbrowser
from typing import Annotated

import typer

from evoflash import config
from evoflash.api.words import RUN_HELP, RunWord
from evoflash.cli.runs import Database
from evoflash.report.dashboard import Server, Studies
from evoflash.store import RunStore, location

LOCAL = ("localhost", "127.0.0.1", "::1")


def dashboard(
    run: Annotated[
        list[RunWord] | None,
        typer.Argument(
            parser=RunWord.parse, metavar="RUN", help=f"Runs, each {RUN_HELP}; default: all.", show_default=False
        ),
    ] = None,
    db: Database = None,
    host: Annotated[
        str, typer.Option("--host", help="The address to serve at; others than this machine's see all.")
    ] = LOCAL[0],
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Default: 8080, or a free one if that is taken.", show_default=False
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open a browser.")] = False,
) -> None:
    """Serve every candidate to a browser by optuna-dashboard, until Ctrl-C; a running search is followed.

    The database is only read. Trials have the numbers of their candidates in the run, and say by which command a
    candidate is shown.
    """
    settings = config.load(db=db)
    more = "" if config.load().db == settings.db else f" --db {shlex.quote(location.without_password(settings.db))}"
    with RunStore.open(settings.db) as store:
        chosen = [each.find(store).id for each in run or ()]
        studies = Studies(store, chosen, settings.templates, more)
        with Server(studies, host, port) as server, contextlib.suppress(KeyboardInterrupt):
            if host not in LOCAL:
                _say(f"{host} is not only this machine's: whoever reaches it sees all runs, with no password")
            _say(f"serving the runs of {location.without_password(settings.db)} at {server.url} until Ctrl-C")
            if open_browser:
                webbrowser.open(server.url)
            server.serve()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
