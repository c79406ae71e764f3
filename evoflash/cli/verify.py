"""`evoflash verify`: runs a kernel or function through every correctness gate."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, targets
from evoflash.api import families
from evoflash.api.families import FUNCTION
from evoflash.api.shapes import device_of, one
from evoflash.api.words import CANDIDATE_HELP
from evoflash.bench.entrants import Entrant, FixedEntrant, of_source
from evoflash.cli import options
from evoflash.cli.entrants import entrant_of, machine_of
from evoflash.cli.runs import AsJson, Database
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.errors import RefusedError, UsageError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.footprint import require_memory
from evoflash.problems import Problem
from evoflash.report import verify_sheets as sheets
from evoflash.report.tables import print_document, print_sheets
from evoflash.targets.environment import environment
from evoflash.verify.verdict import Verdict, VerifyDocument
from evoflash.verify.verification import Verification

SOURCES = (".cu", ".cpp")
Named = Entrant | str  # a string is the name of a function


def verify(
    context: typer.Context,
    kernel: Annotated[
        list[str],
        typer.Argument(
            help=f"What to verify: a candidate ({CANDIDATE_HELP}), the folder of an exported package, a source file "
            '(.cu, .cpp), FAMILY, FAMILY:{"gene": value, ...}, or module:function, whose arguments are those '
            "of scaled_dot_product_attention or, with --problem, of the file's function."
        ),
    ],
    shape: options.Shape = None,
    problem: options.Problem = None,
    dtype: options.Dtype = None,
    target: options.TargetName = None,
    arch: options.Arch = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random cases.  [default: random, and printed]")] = None,
    deadline: Annotated[float, typer.Option(min=1.0, help="Time limit of a case in seconds.")] = 60.0,
    sanitize: options.Sanitize = False,
    templates: options.Templates = None,
    db: Database = None,
    cache: options.Cache = None,
    debug: options.Debug = None,
    verbose: options.Verbose = None,
    as_json: AsJson = False,
) -> None:
    """Run kernels or functions through every correctness gate; exit code 1 if one is refused.

    --problem, --shape and --dtype give the problem of a family, source file or function; exports and candidates have
    their own.
    """
    settings = config.load(
        target=target, arch=arch, templates=templates, db=db, cache=cache, debug=debug, verbose=verbose
    )
    asked = one(problem, shape, dtype, settings, device_of(settings.target))
    chosen = secrets.randbelow(2**31) if seed is None else seed
    named = [_named(text, asked, settings) for text in kernel]
    wanted = {each.target for each in named if not isinstance(each, str)}
    if len(wanted) > 1:
        raise UsageError("some of these kernels are for cuda and some for cpu; verify them separately")
    _refuse_idle_options(context, named, asked, target)
    own = machine_of([each for each in named if not isinstance(each, str)])
    device = targets.detect(wanted.pop() if wanted else settings.target, settings.arch, settings.debug, own)
    for each in named:
        require_memory(each.problem if isinstance(each, FixedEntrant) else asked, device)
    toolchain = Toolchain(device, settings.cache, settings.build_deadline_s, settings.verbose)
    toolchain.require_writable()
    if sanitize:
        sanitizers.require(device)
    verdicts: list[Verdict] = []
    with Verification(device, toolchain, _say, deadline) as verification:
        facts = environment(device, verification.start(), ["evoflash", *sys.argv[1:]])
        for each in named:
            if isinstance(each, str):
                verdicts.append(verification.function(each, asked, chosen))
            else:
                own = each.problem if isinstance(each, FixedEntrant) else asked
                verdicts.append(verification.kernel(each, own, chosen, sanitize=sanitize))
            if not as_json:
                print_sheets(sheets.cases_sheet(verdicts[-1]))
    if as_json:
        print_document(VerifyDocument(environment=facts, verdicts=tuple(verdicts)))
    else:
        print_sheets(sheets.verdicts_sheet(verdicts))
    refused = [each for each in verdicts if not each.accepted]
    if refused:
        words = "; ".join(f"{each.name} by {each.gate} ({each.reason})" for each in refused)
        again = f"`--seed {chosen}` gives the same cases"
        raise RefusedError(f"refused: {words}; do not use it, {again}")


def _refuse_idle_options(context: typer.Context, named: Sequence[Named], asked: Problem, target: str | None) -> None:
    """Refuses what would be ignored.

    Raises:
        UsageError: for an option that means nothing for these kernels, or another --target than theirs.
    """
    kernels = [each for each in named if not isinstance(each, str)]
    for each in kernels:
        if target not in (None, "auto", each.target):
            raise UsageError(f"{each.origin} is for {each.target}, not for --target {target}; leave out --target")
    if not kernels:
        options.refuse(context, ("arch", "sanitize"), "for a Python function")
    if not any(each.target == "cuda" for each in kernels):
        options.refuse(context, ("arch",), "for kernels of the CPU")
    if all(isinstance(each, FixedEntrant) and each.problem is not asked for each in named):
        options.refuse(context, ("problem", "shape", "dtype"), "for exports and candidates, which have their own")


def _named(text: str, problem: Problem, settings: Settings) -> Named:
    if Path(text).suffix in SOURCES:
        return of_source(Path(text).expanduser(), problem)
    if families.FUNCTION_BY_FILE.fullmatch(text):
        families.refuse_path(text)
    if FUNCTION.fullmatch(text):
        return text
    return entrant_of(text, settings, seed=0)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
