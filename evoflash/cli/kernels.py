"""`evoflash templates list`, `render` and `build`: kernels without a search, CUDA ones without a GPU too."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, flattening, targets
from evoflash.api import families
from evoflash.api.shapes import device_of, one
from evoflash.cli import options
from evoflash.cli.runs import AsJson
from evoflash.codegen import compilation_database
from evoflash.codegen.manifest import Manifest
from evoflash.codegen.template import Template, load_all
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Gene, Genome
from evoflash.core.record import Document, Record
from evoflash.errors import EvoflashError, SpaceError, UsageError
from evoflash.problems import Problem
from evoflash.report.tables import Sheet, print_document, print_sheets
from evoflash.targets import Target, cuda

Family = Annotated[str, typer.Argument(help="A family: see `evoflash templates list`.")]
GenomeText = Annotated[
    str | None, typer.Option("--genome", help="The genome as JSON; default: a random valid one by --seed.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random genome.")]

templates_app = typer.Typer(no_args_is_help=True, help="Look at the kernel families.")


class BuildFailedError(EvoflashError):
    """A build that was asked for by name failed."""

    exit_code = 1


class FamilyFacts(Record):
    """A family of kernels.

    Attributes:
        family: its name.
        summary: what its kernels are, in one line.
        problem: what it computes: attention, or the name of a function.
        target: "cuda" or "cpu".
        takes: the features of problems that its kernels compute.
        parameters: number of parameters of its search space.
        genomes: number of genomes before constraints.
        manifest: all of its template.yaml.
        refusals: why it does not take the problem that was asked for; empty if it does, None if none was asked for.
    """

    family: str
    summary: str
    problem: str
    target: str
    takes: tuple[str, ...]
    parameters: int
    genomes: int
    manifest: Manifest
    refusals: tuple[str, ...] | None = None


class FamilyList(Document):
    """The families of kernels.

    Attributes:
        families: ordered by name.
    """

    families: tuple[FamilyFacts, ...]


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


@templates_app.command("list", epilog="Example: evoflash templates list --shape mission")
def list_templates(
    context: typer.Context,
    problem: options.Problem = None,
    shape: options.Shape = None,
    dtype: options.Dtype = None,
    arch: options.Arch = None,
    templates: options.Templates = None,
    as_json: AsJson = False,
) -> None:
    """Every family: what it computes, its target, the size of its space, and the features of problems that it takes.

    With --problem or --shape, also whether it takes that problem on its target, or why not.
    """
    settings = config.load(arch=arch, templates=templates)
    found = load_all(settings.templates, lambda text: print(text, file=sys.stderr))
    refusals: dict[str, list[str]] | None = None
    if problem is not None or shape is not None:
        asked = one(problem, shape, dtype, settings, device_of(settings.target))
        refusals = {name: each.refusals(asked, _target_of(each, settings).facts) for name, each in found.items()}
    else:
        options.refuse(context, ("dtype", "arch"), "without --problem or --shape")
    facts = [_facts(each, None if refusals is None else refusals[name]) for name, each in sorted(found.items())]
    if as_json:
        print_document(FamilyList(families=tuple(facts)))
        return
    rows = [
        (
            each.family,
            *([] if each.refusals is None else ["; ".join(each.refusals) or "yes"]),
            each.problem,
            each.target,
            each.parameters,
            f"{each.genomes:.1e}",
            ", ".join(each.takes) or "-",
            each.summary,
        )
        for each in facts
    ]
    taken = "" if refusals is None else "takes it|"
    columns = f"family|{taken}computes|target|>parameters|>genomes before constraints|features|summary"
    print_sheets(Sheet.of("families", columns, rows))


def _facts(template: Template, refusals: list[str] | None) -> FamilyFacts:
    manifest, parameters = template.manifest, template.declaration.parameters
    return FamilyFacts(
        family=template.family,
        summary=manifest.summary,
        problem=manifest.problem,
        target=manifest.target,
        takes=manifest.takes,
        parameters=len(parameters),
        genomes=math.prod(len(each.values) for each in parameters.values()),
        manifest=manifest,
        refusals=None if refusals is None else tuple(refusals),
    )


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
    target = _target_of(template, settings)
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


def _target_of(template: Template, settings: Settings) -> Target:
    """The family's own kind of target; for CUDA this machine's device, or any of an architecture."""
    if template.manifest.target == "cpu":
        return targets.detect("cpu", debug=settings.debug)
    if settings.arch is not None:
        return cuda.of_arch(settings.arch, settings.debug)
    missing = targets.why_not_cuda()
    if missing:
        print(f"no device to ask for its architecture, so for sm_90a ({missing.split(';')[0]})", file=sys.stderr)
        return cuda.of_arch("sm_90a", settings.debug)
    return cuda.detect(None, settings.debug)


def _parse(text: str) -> Genome:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--genome is not JSON: {error}; write it like '{{\"rows\": 64}}'") from None
    if not isinstance(values, dict):
        raise UsageError("--genome must be a JSON object of parameter names and values; write it like '{\"rows\": 64}'")
    return Genome(values)
