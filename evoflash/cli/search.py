"""`evoflash search` and `evoflash resume`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config
from evoflash.api.prepared import PreparedSearch
from evoflash.api.request import SearchRequest
from evoflash.api.words import run_of
from evoflash.cli import options
from evoflash.cli.running import hush, run_search, say
from evoflash.cli.runs import AsJson, Database
from evoflash.cli.words import Run
from evoflash.errors import NothingCorrectError
from evoflash.store import RunStore

Events = Annotated[
    bool, typer.Option("--events", help="Print progress as JSON, one object per line on standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result.")]


class FinalsOn(StrEnum):
    """Where finals are held."""

    ONE = "one"
    EACH = "each"


class Score(StrEnum):
    """The objective of a search over several shapes."""

    EACH = "each"
    ROBUST = "robust"


def search(
    shape: options.Shapes = None,
    problem: options.Problem = None,
    score: Annotated[
        Score,
        typer.Option(
            help="With several shapes: each finds the fastest kernel of each, with one budget and shared results; "
            "robust finds one kernel for all of them, scored by the geometric mean of its times."
        ),
    ] = Score.EACH,
    dtype: options.Dtype = None,
    target: options.TargetName = None,
    devices: options.Devices = None,
    each_device_kind: Annotated[
        bool,
        typer.Option(
            "--each-device-kind",
            help="Where GPUs are of several kinds, one search after another on the GPUs of each kind.",
        ),
    ] = False,
    finals_on: Annotated[
        FinalsOn,
        typer.Option(
            help="With several devices: one holds the finals on the first; each on every device, and shows them apart."
        ),
    ] = FinalsOn.ONE,
    scheduler: options.Scheduler = None,
    tls_ca_file: options.TlsCaFile = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    arch: options.Arch = None,
    family: Annotated[list[str] | None, typer.Option("--family", help="Only these families; repeatable.")] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="evolution, best-of-n, random, tpe, cmaes, nsga2, gp (optuna is tpe); settings follow a colon, as in "
            "evolution:population=map-elites."
        ),
    ] = "evolution",
    effort: Annotated[str, typer.Option(help="quick, standard or thorough: see configs/effort.yaml.")] = "standard",
    budget: Annotated[int | None, typer.Option(help="Maximum number of candidates; overrides the effort.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Maximum minutes of search; overrides the effort. Timing the baselines comes before them, finals and "
            "export after them. Several shapes share them."
        ),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            help="Early stopping: stop when the next 20 candidates are expected to improve the best time by less than "
            "this many percent; default: never."
        ),
    ] = None,
    warm_start: Annotated[
        str,
        typer.Option(
            help="auto starts from the best genomes of the most similar earlier run and reuses earlier results; none "
            "does neither; a run (its number, latest or best) starts from that one."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    max_registers: Annotated[int | None, typer.Option(help="Reject kernels with more registers per thread.")] = None,
    max_shared_kib: Annotated[
        float | None, typer.Option(help="Reject kernels with more shared memory per block.")
    ] = None,
    no_spills: Annotated[bool, typer.Option("--no-spills", help="Reject kernels that spill registers.")] = False,
    sanitize: options.Sanitize = False,
    baseline: options.Baselines = None,
    jobs: options.Jobs = None,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    debug: options.Debug = None,
    calls: options.Calls = None,
    report: options.Report = None,
    verbose: options.Verbose = None,
    events: Events = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search for the fastest correct kernel of a shape, or of several, and export it."""
    hush(quiet)
    request = SearchRequest(
        shape=shape or (),
        problem=problem,
        score=score.value,
        dtype=dtype,
        target=target,
        devices=devices,
        finals_on=finals_on.value,
        scheduler=scheduler,
        tls_ca_file=tls_ca_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        arch=arch,
        family=family or (),
        strategy=strategy,
        effort=effort,
        budget=budget,
        minutes=minutes,
        patience=patience,
        warm_start=warm_start,
        seed=seed,
        max_registers=max_registers,
        max_shared_kib=max_shared_kib,
        no_spills=no_spills,
        sanitize=sanitize,
        baseline=baseline or (),
        jobs=jobs,
        templates=templates,
        db=db,
        cache=cache,
        debug=debug,
        calls=calls,
        report=report,
        verbose=verbose,
    )
    requests = request.by_device_kind() if each_device_kind else [request]
    failures: list[NothingCorrectError] = []
    for each in requests:
        folder = out / (each.devices or "").replace(",", "") if out is not None and len(requests) > 1 else out
        try:
            run_search(each.prepare(say), folder, events, as_json, quiet)
        except NothingCorrectError as error:  # the other kinds have their search nevertheless
            failures.append(error)
    if failures:
        raise failures[0]


def resume(
    run: Run = None,
    devices: options.Devices = None,
    scheduler: options.Scheduler = None,
    tls_ca_file: options.TlsCaFile = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    db: Database = None,
    cache: options.Cache = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the winner's package.")] = None,
    report: options.Report = None,
    events: Events = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Resume an interrupted search, with all its shapes."""
    hush(quiet)
    settings = config.load(
        db=db,
        cache=cache,
        report=report,
        scheduler=scheduler,
        tls_ca_file=tls_ca_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    with RunStore.open(settings.db) as store:
        asked = run_of(store, run)
    run_search(PreparedSearch.resumed(asked.id, settings, say, devices), out, events, as_json, quiet)
