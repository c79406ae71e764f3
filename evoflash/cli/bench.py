"""`evoflash bench`: baselines and any kernels, on any shapes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic_core
import typer

from evoflash import config, targets
from evoflash.api import rivals, shapes
from evoflash.bench.bench import Bench, Effort, case_sets
from evoflash.bench.entrants import Entrant, FamilyEntrant, FixedEntrant
from evoflash.bench.measurement import CaseTally, ShapeResult
from evoflash.cli import options
from evoflash.cli.entrants import KERNEL_HELP, entrant_of, machine_of
from evoflash.cli.runs import AsJson, Database
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.core.record import Document
from evoflash.core.reliability import Reliability
from evoflash.core.status import Status
from evoflash.errors import NothingCorrectError, StorageError, UsageError, WorkerError
from evoflash.export.call_times import Calls
from evoflash.export.calls import measure_kernel
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.problems import FunctionProblem, Problem, attention
from evoflash.report import bench_sheets as sheets
from evoflash.report.tables import print_document, print_sheets
from evoflash.targets import Target
from evoflash.targets.environment import environment


class BenchDocument(Document):
    """Times of baselines and kernels; or with `--self-test`, how well this machine tells times apart.

    Attributes:
        environment: facts of machine, device and software.
        shapes: the times on each shape.
        cases: the correctness cases of `--cases`.
        calls: with `--calls`, by shape and kernel: the times of its calls from Python, or why there are none.
        problem: of a self-test: the label of the problem.
        self_test: of a self-test: each kernel against itself, and against itself with 2 % more work.
    """

    environment: dict[str, Any]
    shapes: tuple[ShapeResult, ...] = ()
    cases: tuple[CaseTally, ...] = ()
    calls: dict[str, dict[str, Calls | str]] = {}
    problem: str | None = None
    self_test: tuple[Reliability, ...] = ()


def bench(
    context: typer.Context,
    shape: options.Shapes = None,
    problem: options.Problem = None,
    every_shape: Annotated[bool, typer.Option("--all", help="Every shape of configs/shapes.yaml.")] = False,
    dtype: options.Dtype = None,
    kernel: Annotated[list[str] | None, typer.Option("--kernel", help=KERNEL_HELP)] = None,
    baseline: options.Baselines = None,
    target: options.TargetName = None,
    arch: options.Arch = None,
    iters: Annotated[int, typer.Option(min=2, help="Samples of each baseline and kernel, interleaved.")] = 100,
    warmup: Annotated[int, typer.Option(min=0, help="Warm-up rounds, which are not recorded.")] = 20,
    minutes: Annotated[float, typer.Option(min=0.01, help="Start no new round of a shape after this long.")] = 5.0,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Time only kernels that are correct on the shape.")
    ] = True,
    fifteen: Annotated[
        bool, typer.Option("--fifteen", help="Run the fifteen base cases; same as --cases base.")
    ] = False,
    cases: Annotated[str | None, typer.Option("--cases", help="Run correctness cases: base or all.")] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test", help="Time each kernel against itself instead, and test whether 2 % more work is detected."
        ),
    ] = False,
    calls: Annotated[
        bool, typer.Option("--calls", help="Export each kernel, and time its calls from Python beside PyTorch's.")
    ] = False,
    trials: Annotated[int, typer.Option(min=10, help="Trials of the self-test, of --iters rounds each.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of a family's random genome.")] = 0,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    debug: options.Debug = None,
    verbose: options.Verbose = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the JSON document to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Time baselines and any kernels on any shapes, interleaved; what is wrong is not timed.

    The baselines are PyTorch's and those of the packages that `evoflash doctor` lists as installed. Without --shape and
    --problem, candidates and exports of a function are timed on what they were searched for.
    """
    settings = config.load(
        target=target, arch=arch, templates=templates, db=db, cache=cache, debug=debug, verbose=verbose
    )
    wanted = _cases(cases, fifteen)
    entrants = [entrant_of(text, settings, seed) for text in dict.fromkeys(kernel or ())]
    device = targets.detect(settings.target, settings.arch, settings.debug, machine_of(entrants))
    _require_distinct(entrants, device)
    chosen = _chosen(problem, shape, every_shape, dtype, entrants, settings, device.place)
    _refuse_idle_options(context, device, entrants, wanted, self_test)
    if self_test and len(chosen) > 1:
        raise UsageError(f"--self-test times one shape, and these are {len(chosen)}; name one --shape")
    if self_test and any(each.updates is not None for each in next(iter(chosen.values())).outputs()):
        raise UsageError(
            "--self-test launches thousands of times in a row, and what is updated in place would drift away; "
            "name another problem"
        )
    beside = rivals.chosen(baseline, chosen.values(), device.name)
    toolchain = Toolchain(device, settings.cache, settings.build_deadline_s, settings.verbose)
    toolchain.require_writable()
    effort = Effort(samples=iters, warmup=warmup, budget_s=60 * minutes, check=check)
    results: list[ShapeResult] = []
    tallies: list[CaseTally] = []
    timed: dict[str, dict[str, Calls | str]] = {}
    _say(f"{len(chosen)} shapes, {len(entrants)} kernels and the baselines on {device.device}")
    with Bench(device, toolchain, entrants, effort, _say, beside) as engine:
        document = BenchDocument(environment=environment(device, engine.start(), ["evoflash", *sys.argv[1:]]))
        if self_test:
            _self_test(engine, next(iter(chosen.values())), trials, document, out, as_json)
            return
        _save(document, out)
        for name, asked in chosen.items():
            results.append(engine.shape(name, asked))
            document = document.model_copy(update={"shapes": tuple(results)})
            _save(document, out)
            if not as_json:
                print_sheets(sheets.shape_sheet(results[-1]))
            if calls:
                timed[name] = _time_calls(results[-1], asked, entrants, device)
                document = document.model_copy(update={"calls": timed})
                _save(document, out)
                if not as_json:
                    print_sheets(sheets.calls_sheet(name, timed[name]))
        for of, group in case_sets(list(chosen.values()), wanted == "all").items() if wanted else ():
            tallies += engine.cases(of, group)
            document = document.model_copy(update={"cases": tuple(tallies)})
            _save(document, out)
    if as_json:
        print_document(document)
    else:
        print_sheets(*sheets.cases_sheets(tallies), sheets.kernels_sheet(results))
    _require_something_correct(results, tallies)


def _time_calls(
    result: ShapeResult, problem: Problem, entrants: Sequence[Entrant], device: Target
) -> dict[str, Calls | str]:
    """The time of a call of each kernel that was right, or why there is none."""
    right = {entry.name for entry in result.kernels if entry.status is Status.OK}
    found: dict[str, Calls | str] = {}
    for entrant in entrants:
        kernel = entrant.kernel(problem, device)
        if entrant.name not in right or isinstance(kernel, str):
            continue
        winner = Winner(
            name="benched",
            family=entrant.family,
            genome=kernel.genome,
            source=flatten(kernel.source.text) if kernel.source.language != "python" else kernel.source.text,
            language=kernel.source.language,
            target=device.name,
            arch=int(device.facts["arch"]) if device.name == "cuda" else None,
            problem=problem,
            provenance={},
        )
        _say(f"{result.shape}: timing calls of {entrant.name}")
        try:
            found[entrant.name] = measure_kernel(winner, device.variables)
        except WorkerError as error:
            found[entrant.name] = str(error)
    return found


def _self_test(
    engine: Bench, problem: Problem, trials: int, document: BenchDocument, out: Path | None, as_json: bool
) -> None:
    """Times each kernel against itself.

    Raises:
        NothingCorrectError: when the timing is not reliable.
    """
    found = {name: Reliability.of(name, each) for name, each in engine.self_test(problem, trials).items()}
    document = document.model_copy(update={"problem": problem.label, "self_test": tuple(found.values())})
    _save(document, out)
    if as_json:
        print_document(document)
    else:
        print_sheets(sheets.self_test_sheet(problem.label, list(found.values())))
    unsound = [f"{name}: {each.verdict}" for name, each in found.items() if not each.sound]
    if unsound:
        raise NothingCorrectError(
            f"the timing is not reliable ({', '.join(unsound)}); stop other programs on this machine, or take more "
            "samples with --iters"
        )


def _cases(text: str | None, fifteen: bool) -> Literal["base", "all"] | None:
    if text == "all":
        return "all"
    if text not in (None, "base"):
        raise UsageError(f"--cases {text!r} is unknown; choose from: base, all")
    return "base" if text or fifteen else None


def _chosen(
    problem: str | None,
    texts: Sequence[str] | None,
    every: bool,
    dtype: str | None,
    entrants: Sequence[Entrant],
    settings: Settings,
    device: str,
) -> Mapping[str, Problem]:
    """The problems by name, as the user wrote it; by default what kernels of functions are for, or `mission`.

    Raises:
        UsageError: for --all beside --problem, and as `shapes.chosen` does.
    """
    if every and problem is not None:
        raise UsageError("--all are the shapes of attention; beside --problem name sizes by --shape")
    names = [*(attention.shape_names() if every else []), *(texts or [])]
    own = {} if problem is not None or names or dtype is not None else _own(entrants)
    return own or shapes.chosen(problem, names or None, dtype, settings, device)


def _own(entrants: Sequence[Entrant]) -> Mapping[str, Problem]:
    """What kernels of functions were searched for, if all of the kernels are such."""
    found = [each.problem for each in entrants if isinstance(each, FixedEntrant)]
    if len(found) < len(entrants) or not all(isinstance(each, FunctionProblem) for each in found):
        return {}
    return {each.label: each for each in found}


def _require_distinct(entrants: Sequence[Entrant], device: Target) -> None:
    """Raises UsageError for a kernel of another target, or two kernels with the same name."""
    for entrant in entrants:
        if entrant.target != device.name:
            raise UsageError(
                f"{entrant.origin} is for {entrant.target}; add --target {entrant.target}, or leave it out"
            )
    twice = [name for name, count in Counter(entrant.name for entrant in entrants).items() if count > 1]
    if twice:
        same = " and ".join(entrant.origin for entrant in entrants if entrant.name == twice[0])
        raise UsageError(f"{same} are both called {twice[0]!r}; name one of them, or export one under another --name")


def _refuse_idle_options(
    context: typer.Context, device: Target, entrants: Sequence[Entrant], cases: str | None, self_test: bool
) -> None:
    """Refuses what would be ignored.

    Raises:
        UsageError: for an option that means nothing beside the others.
    """
    if device.name == "cpu":
        options.refuse(context, ("arch",), "on the CPU, where this bench runs")
    if self_test:
        options.refuse(context, ("warmup", "check", "calls", "fifteen", "cases", "baseline"), "with --self-test")
    else:
        options.refuse(context, ("trials",), "without --self-test")
    if not entrants:
        options.refuse(context, ("check", "calls", "fifteen", "cases"), "without --kernel")
    if cases == "all":
        options.refuse(context, ("fifteen",), "beside --cases all, which has these cases too")
    if not any(isinstance(each, FamilyEntrant) and each.genome is None for each in entrants):
        options.refuse(context, ("seed",), "without a --kernel FAMILY whose genome is drawn")


def _save(document: BenchDocument, out: Path | None) -> None:
    """Writes the document, replacing the file atomically."""
    if out is None:
        return
    text = pydantic_core.to_json(document.model_dump(), indent=1, inf_nan_mode="null", fallback=str)
    partial = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(text + b"\n")
        partial.replace(out)
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; choose another --out") from None


def _require_something_correct(results: Sequence[ShapeResult], tallies: Sequence[CaseTally]) -> None:
    kernels = [entry for result in results for entry in result.kernels]
    if kernels and not any(entry.status == Status.OK for entry in kernels):
        reasons = "; ".join(dict.fromkeys(f"{each.name}: {each.reason}" for each in kernels))
        raise NothingCorrectError(f"no kernel was timed on any shape: {reasons}; choose another kernel or shape")
    failed = sum(len(tally.failed) for tally in tallies)
    if failed:
        raise NothingCorrectError(f"{failed} correctness cases failed, see above; do not use those kernels")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
