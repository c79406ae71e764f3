"""`evoflash convert`: a recorded space in the format of Kernel Tuner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from evoflash.cli.replay import Objective, Optimise, recordings
from evoflash.cli.runs import Database
from evoflash.errors import StorageError, UsageError, unknown
from evoflash.replay.formats import kernel_tuner


def convert(
    space: Annotated[str, typer.Argument(help="A CSV or T4 file, plain or .gz; or a recorded run.")],
    out: Annotated[Path, typer.Option("--out", help="The cache of Kernel Tuner, .json.")],
    family: Annotated[
        str | None,
        typer.Option(
            help="The family, where there are several: a cache has one set of parameters.", show_default=False
        ),
    ] = None,
    objective: Objective = None,
    maximize: Optimise = None,
    db: Database = None,
) -> None:
    """Write a recorded space as a cache of Kernel Tuner, on which its simulation mode runs."""
    if out.suffix != ".json":
        raise UsageError(f"{out} is no name of a cache; write a .json file")
    (recording,) = recordings([space], db, objective, maximize).values()
    if family is None and len(recording.spaces) > 1:
        raise UsageError(f"{space} has several families; choose one of {', '.join(recording.spaces)} by --family")
    own = family or next(iter(recording.spaces))
    if own not in recording.spaces:
        raise unknown("family", own, recording.spaces)
    found = recording.spaces[own]
    document = kernel_tuner.document(
        own,
        recording.name,
        {name: each.values for name, each in found.parameters.items()},
        [(genome, recording.results[own, genome.digest]) for genome in found.genomes()],
    )
    try:
        out.write_text(json.dumps(document), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror}; choose another --out") from None
    print(f"{own}: {len(document['cache'])} configurations in {out}", file=sys.stderr)
