"""The command `evoflash`: all subcommands, and their exit codes."""

import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evoflash.cli import (
    bench,
    candidates,
    convert,
    dashboard,
    doctor,
    export,
    kernels,
    new,
    profile,
    record,
    replay,
    report,
    runs,
    search,
    templates,
    verify,
    worker,
)
from evoflash.errors import EvoflashError
from evoflash.version import __version__

INTERRUPTED = 130


class Commands(TyperGroup):
    """The group of commands, which turns evoflash's errors into one-line messages and exit codes."""

    def invoke(self, ctx: Any) -> object:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except EvoflashError as error:
            print(f"evoflash: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Evolutionary search for attention kernels. Start with: evoflash search --shape mission",
    epilog="Exit codes: 0 success, 1 nothing correct, 2 usage error, 3 the environment lacks something, "
    "130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(epilog="Example: evoflash search --shape mission --minutes 1")(search.search)
app.command(epilog="Example: evoflash resume latest")(search.resume)
app.add_typer(runs.app, name="runs")
app.command(epilog="Example: evoflash report latest --out report.html")(report.report)
app.command(epilog="Example: evoflash lineage best")(candidates.lineage)
app.command(epilog="Example: evoflash show best --source")(candidates.show)
app.command(epilog="Example: evoflash diff 12 best")(candidates.diff)
app.command(epilog="Example: evoflash dashboard --open")(dashboard.dashboard)
app.command(epilog="Example: evoflash export latest --out my_attention")(export.export)
app.command(epilog="Example: evoflash bench --kernel latest --shape mission")(bench.bench)
app.command(epilog="Example: evoflash verify latest")(verify.verify)
app.command(epilog="Example: evoflash profile best")(profile.profile)
app.command(epilog="Example: evoflash record split --shape mission --sample 1000 --out split.t4.json.gz")(record.record)
app.command(epilog="Example: evoflash replay latest --strategy evolution,tpe,random")(replay.replay)
app.command(epilog="Example: evoflash convert split.t4.json.gz --out split.json")(convert.convert)
app.command(epilog="Example: evoflash render cpu_flash --shape mission --flat")(kernels.render)
app.command(epilog="Example: evoflash build mma --shape mission --arch sm_90a")(kernels.build)
app.add_typer(templates.app, name="templates")
app.add_typer(new.app, name="new")
app.command(epilog="Example: evoflash worker dask://127.0.0.1:8786")(worker.worker)
app.command(epilog="Example: evoflash doctor")(doctor.doctor)


def main() -> None:
    """Entry point of the command `evoflash`."""
    # SIGTERM and SIGHUP end a command as cleanly as Ctrl-C; signals that nohup ignores stay ignored.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _interrupt)
    app()


def _interrupt(*_: object) -> None:
    """Ends the command cleanly; further signals are ignored, so that they do not interrupt the clean-up."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
