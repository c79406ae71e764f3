"""`evoflash render` and `build`: kernels without a search, CUDA ones without a GPU too."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, flattening
from evoflash.api import families
from evoflash.api.shapes import device_of, one
from evoflash.cli import options
from evoflash.cli.runs import AsJson
from evoflash.cli.templates import target_of
from evoflash.codegen import compilation_database
from evoflash.codegen.template import Template
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Gene, Genome
from evoflash.core.record import Document
from evoflash.errors import EvoflashError, SpaceError, UsageError
from evoflash.problems import Problem
from evoflash.report.tables import Sheet, print_document, print_sheets
from evoflash.targets import Target

Family = Annotated[str, typer.Argument(help="A family: see `evoflash templates list`.")]
GenomeText = Annotated[
    str | None, typer.Option("--genome", help="The genome as JSON; default: a random valid one by --seed.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random genome.")]


class BuildFailedError(EvoflashError):
    """A build that was asked for by name failed."""

    exit_code = 1


class RenderDocument(Document):
    """What is compiled for a genome.

    Attributes:
        family: the template that rendered it.
        target: the device that it is for.
        genome: the parameter values that it was rendered with.
        source: the file; None with `--compile-commands`, which writes it.
        path: the file that `--compile-commands` has written.
    """

    family: str
    target: str
    genome: dict[str, Gene]
    source: str | None = None
    path: str | None = None


class BuildDocument(BuildReport, Document):
    """A build of a genome.

    Attributes:
        family: the template that rendered it.
        target: the device that it is for.
        genome: the parameter values that it was rendered with.
        library: the path of the library in the build cache; None if it was not built.
        status: "ok", or how the build failed.
        reason: why it failed.
    """

    family: str
    target: str
    genome: dict[str, Gene]
    library: str | None
    status: str
    reason: str


def render(
    context: typer.Context,
    family: Family,
    shape: options.Shape = None,
    problem: options.Problem = None,
    dtype: options.Dtype = None,
    arch: options.Arch = None,
    genome: GenomeText = None,
    seed: Seed = 0,
    templates: options.Templates = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="The same kernel to be read: branches that are never taken are gone.")
    ] = False,
    compile_commands: Annotated[
        Path | None,
        typer.Option(
            "--compile-commands",
            metavar="DIR",
            help="Write it here with its #include lines, and a compile_commands.json by which clangd opens it and "
            "its headers; prints the file's path.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what is compiled for a genome on standard output; the genome goes to standard error."""
    if flat and compile_commands is not None:
        raise UsageError("--flat is one file to read, --compile-commands one that includes headers; give one of them")
    settings = config.load(arch=arch, templates=templates)
    template = families.named(family, settings.templates)
    asked = one(problem, shape, dtype, settings, device_of(template.manifest.target))
    target, chosen = _chosen(context, template, asked, settings, genome, seed)
    document = RenderDocument(family=family, target=target.device, genome=dict(chosen))
    if not as_json:
        print(f"genome {json.dumps(document.genome)}", file=sys.stderr)
    if compile_commands is not None:
        text = template.written(chosen, asked, target.facts)
        headers, generated = template.headers(text, asked).values(), template.generated(asked)
        path = str(
            compilation_database.write(compile_commands, text, headers, template.include_folders, target, generated)
        )
        if as_json:
            print_document(document.model_copy(update={"path": path}))
        else:
            print(path)
        return
    source = template.render(chosen, asked, target.facts).text
    if flat:
        source = flattening.flatten(source)
    if as_json:
        print_document(document.model_copy(update={"source": source}))
    else:
        sys.stdout.write(source)


def build(
    context: typer.Context,
    family: Family,
    shape: options.Shape = None,
    problem: options.Problem = None,
    dtype: options.Dtype = None,
    arch: options.Arch = None,
    genome: GenomeText = None,
    seed: Seed = 0,
    templates: options.Templates = None,
    cache: options.Cache = None,
    debug: options.Debug = None,
    verbose: options.Verbose = None,
    out: Annotated[Path | None, typer.Option("--out", help="Copy the library here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Render and build a genome, and print the compiler's report; exit code 0 only when it built."""
    settings = config.load(arch=arch, templates=templates, cache=cache, debug=debug, verbose=verbose)
    template = families.named(family, settings.templates)
    asked = one(problem, shape, dtype, settings, device_of(template.manifest.target))
    target, chosen = _chosen(context, template, asked, settings, genome, seed)
    source = template.render(chosen, asked, target.facts)
    built = Toolchain(target, settings.cache, settings.build_deadline_s, settings.verbose).build(source)
    document = BuildDocument(
        **built.report.model_dump(),
        family=family,
        target=target.device,
        genome=dict(chosen),
        library=str(built.library) if built.library is not None else None,
        status=built.status or "ok",
        reason=built.reason,
    )
    if as_json:
        print_document(document)
    else:
        facts = document.model_dump(exclude={"log", "genome", "status", "reason"}, exclude_none=True)
        print_sheets(Sheet.facts("build", {**facts, "genome": json.dumps(dict(chosen))}))
        print(built.report.log, end="", file=sys.stderr)
    if built.library is None:
        raise BuildFailedError(
            f"{family} does not build: {built.reason}; change the genome, or see the compiler's output above"
        )
    if out is not None:
        out.write_bytes(built.library.read_bytes())


def _chosen(
    context: typer.Context, template: Template, problem: Problem, settings: Settings, text: str | None, seed: int
) -> tuple[Target, Genome]:
    family = template.family
    if template.manifest.target == "cpu":
        options.refuse(context, ("arch",), f"for {family}, whose kernels are for the CPU")
    if text is not None:
        options.refuse(context, ("seed",), "beside --genome")
    target = target_of(template, settings)
    refusals = template.refusals(problem, target.facts)
    if refusals:
        raise SpaceError(
            f"{family} does not take {problem.label} on {target.device}: {'; '.join(refusals)}; "
            "choose another shape, --dtype or --arch"
        )
    space = template.space([problem], target.facts)
    genome = space.sample(random.Random(seed)) if text is None else _parse(text)
    broken = space.violations(genome)
    if broken:
        why = "; ".join(f"{each.expr} ({each.why})" for each in broken)
        raise SpaceError(f"that genome is not valid here: {why}; change the genes that these read")
    return target, genome


def _parse(text: str) -> Genome:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--genome is not JSON: {error}; write it like '{{\"rows\": 64}}'") from None
    if not isinstance(values, dict):
        raise UsageError("--genome must be a JSON object of parameter names and values; write it like '{\"rows\": 64}'")
    return Genome(values)
