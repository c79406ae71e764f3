"""`evoflash replay`: compares strategies on recorded spaces, without a device."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, proposers
from evoflash.api.words import RunWord, is_run
from evoflash.cli.runs import AsJson, Database
from evoflash.errors import UsageError
from evoflash.replay import Recording, Standing, Trace, standing
from evoflash.replay.formats import read
from evoflash.replay.measures import ReplayDocument
from evoflash.replay.race import Race
from evoflash.replay.stored import recording
from evoflash.replay.synthetic import seeds_of, synthetic
from evoflash.report.replay_sheets import replay_sheets, write_curves
from evoflash.report.tables import print_document, print_sheets
from evoflash.store import RunStore
from evoflash.targets.base import usable_cores

Spaces = Annotated[
    list[str],
    typer.Argument(
        help="CSV, Kernel Tuner cache or T4 files, plain or .gz; recorded runs (a number, latest or best); synthetic "
        "spaces (synthetic:SEED or synthetic:FIRST-LAST)."
    ),
]

Objective = Annotated[
    str | None,
    typer.Option(
        help="A measurement of T4 results, key of a Kernel Tuner cache or column of a CSV; default: what the file "
        "names, or time.",
        show_default=False,
    ),
]
Optimise = Annotated[
    bool | None,
    typer.Option(
        "--maximize/--minimize",
        help="Whether the highest value of the objective is the best; default: by its name, "
        "e.g. the highest GFLOP/s or score, the lowest time and the lowest of any unknown name.",
        show_default=False,
    ),
]


def replay(
    spaces: Spaces,
    strategy: Annotated[
        str, typer.Option(help="Strategies, separated by commas; the others are tested against the first.")
    ] = "evolution,tpe,random",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each strategy on each space, seeds 0, 1, 2 …")] = 25,
    evaluations: Annotated[int, typer.Option(min=1, help="Evaluations per run.")] = 200,
    window: Annotated[int, typer.Option(min=1, help="Proposals in flight, as in a search with parallel builds.")] = 1,
    objective: Objective = None,
    maximize: Optimise = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: the number of cores.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the runs and curves; an interrupted comparison continues there."),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Compare strategies on recorded spaces, without a device."""
    names = tuple(dict.fromkeys(part.strip() for part in strategy.split(",") if part.strip()))
    for name in names:
        proposers.require(name)
    recorded = recordings(spaces, db, objective, maximize)
    race = Race(names, recorded, repeats, evaluations, window)
    total, finished = len(race.laps), 0

    def show_progress(trace: Trace) -> None:
        nonlocal finished
        finished += 1
        if sys.stderr.isatty():
            print(f"\r{finished} of {total} runs", end="", file=sys.stderr, flush=True)

    traces = race.run(jobs or usable_cores(), out, show_progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    standings = _standings(names, traces, recorded)
    if out is not None:
        print(f"curves: {write_curves(out, traces, recorded)}", file=sys.stderr)
    if as_json:
        print_document(ReplayDocument(evaluations=evaluations, repeats=repeats, standings=tuple(standings)))
    else:
        print_sheets(*replay_sheets(standings, evaluations))


def recordings(spaces: list[str], db: str | None, objective: str | None, maximize: bool | None) -> dict[str, Recording]:
    """The recordings by name.

    Raises:
        UsageError: for a file that cannot be read, an option that means nothing for it, and two of the same name.
    """
    found: dict[str, Recording] = {}
    for word in spaces:
        for loaded in _named(word, db, objective, maximize):
            if loaded.name in found:
                raise UsageError(f"two spaces have the name {loaded.name}; leave out one, or rename its file")
            found[loaded.name] = loaded
    return found


def _named(word: str, db: str | None, objective: str | None, maximize: bool | None) -> Iterator[Recording]:
    """What a word names: a file, a run of the database, or synthetic spaces."""
    seeds = seeds_of(word)
    if Path(word).exists() or (seeds is None and not is_run(word)):
        yield read(Path(word), objective, maximize)
        return
    if objective is not None or maximize is not None:
        kind = f"run {word}" if seeds is None else word
        raise UsageError(f"{kind} has only times; leave out --objective, --maximize and --minimize")
    if seeds is None:
        with RunStore.open(config.load(db=db).db) as store:
            yield recording(store, RunWord.parse(word).find(store).id)
        return
    if not seeds:
        raise UsageError(f"{word} names no seed; write the smaller one first, as in synthetic:0-9")
    yield from map(synthetic, seeds)


def _standings(names: tuple[str, ...], traces: list[Trace], recordings: dict[str, Recording]) -> list[Standing]:
    by_name = {name: [trace for trace in traces if trace.strategy == name] for name in names}
    first = by_name[names[0]]
    return [standing(own, recordings, first if own is not first else ()) for own in by_name.values()]
