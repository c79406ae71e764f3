"""`evoflash record`: measures a space into a file, for `evoflash replay` and other tuners."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from evoflash.api.recording import SAMPLES, RecordRequest
from evoflash.api.sitting import RecordedDocument
from evoflash.cli import options
from evoflash.cli.running import hush, say, watched
from evoflash.cli.runs import AsJson, Database
from evoflash.cli.search import Events, Quiet
from evoflash.core.genome import Gene
from evoflash.errors import UsageError
from evoflash.report.tables import Sheet, duration, print_document, print_sheets, us

NUMBER = re.compile(r"[+-]?[0-9]+")


def record(
    family: Annotated[list[str], typer.Argument(help="Families to measure.", metavar="FAMILY…")],
    out: Annotated[
        Path, typer.Option("--out", help="The file, .json or .json.gz; a sitting goes on with what it has.")
    ],
    shape: options.Shape = None,
    problem: options.Problem = None,
    dtype: options.Dtype = None,
    target: options.TargetName = None,
    devices: options.Devices = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE,…",
            help="Measure only these values of a parameter; repeatable. Families that lack it are not affected.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measure so many genomes of each family, drawn uniformly from its valid ones; default: all of them.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order, and of the sample.")] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Minutes of this sitting; default: a day.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Timing samples of a point; their median is its time.")] = SAMPLES,
    jobs: options.Jobs = None,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    verbose: options.Verbose = None,
    events: Events = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a space into a T4 file: all of it, or a sample, in one sitting or several."""
    hush(quiet)
    request = RecordRequest(
        family=family,
        out=out,
        shape=shape,
        problem=problem,
        dtype=dtype,
        target=target,
        devices=devices,
        only=dict(_values(each) for each in given or ()),
        sample=sample,
        seed=seed,
        minutes=minutes,
        samples=samples,
        jobs=jobs,
        templates=templates,
        db=db,
        cache=cache,
        verbose=verbose,
    )
    prepared = request.prepare(say)
    if not prepared.left:
        _show(prepared.kept(), as_json)
        return
    (plan,) = prepared.search.plans
    say(f"{plan.title}: {plan.label} on {prepared.search.device.device}; up to {prepared.left} to measure")
    with prepared.search.database() as store, watched(prepared.search, store, events=events, quiet=quiet) as engine:
        try:
            (outcome,) = engine.run()
        except KeyboardInterrupt:
            kept = prepared.keep(store, engine)
            say(f"interrupted; {kept.new} results more are in {out}, and the same command goes on", always=True)
            raise
        except BaseException:
            prepared.keep(store, engine)
            raise
        kept = prepared.keep(store, engine)
    say(f"{kept.ended}; {outcome.throughput}")
    _show(kept, as_json)


def _values(text: str) -> tuple[str, tuple[Gene, ...]]:
    """Name and values of "tile=64,128": whole and other numbers, true, false, words.

    Raises:
        UsageError: for what is no assignment.
    """
    name, sign, values = text.partition("=")
    if not sign or not name or not values:
        raise UsageError(f"--set {text!r} is no list of values; write NAME=VALUE,VALUE")
    return name.strip(), tuple(_value(each.strip()) for each in values.split(","))


def _value(word: str) -> Gene:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if NUMBER.fullmatch(word):
        return int(word)
    try:
        return float(word)
    except ValueError:
        return word


def _show(kept: RecordedDocument, as_json: bool) -> None:
    if as_json:
        print_document(kept)
        return
    facts = {
        "file": f"{kept.out}, {kept.size / 1e6:.3g} MB",
        "this sitting": f"{kept.new} points in {duration(kept.seconds)}, {kept.points_a_minute:.0f} a minute",
        "ended": kept.ended,
    }
    rows = [(each.family, each.points, each.failures, us(each.best_us)) for each in kept.families]
    print_sheets(
        Sheet.facts("recorded", facts),
        Sheet.of("by family", "family|>points|>failures|>best, us", rows),
        Sheet.of("by status", "status|>points", list(kept.statuses.items())),
    )
