"""`evoflash templates list`: the families of kernels."""

from __future__ import annotations

import math
import sys

import typer

from evoflash import config, targets
from evoflash.api.shapes import device_of, one
from evoflash.cli import options
from evoflash.cli.runs import AsJson
from evoflash.codegen.manifest import Manifest
from evoflash.codegen.template import Template, load_all
from evoflash.config import Settings
from evoflash.core.record import Document, Record
from evoflash.report.tables import Sheet, print_document, print_sheets
from evoflash.targets import Target, cuda

app = typer.Typer(no_args_is_help=True, help="Look at the kernel families.")


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


@app.command("list", epilog="Example: evoflash templates list --shape mission")
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
        refusals = {name: each.refusals(asked, target_of(each, settings).facts) for name, each in found.items()}
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


def target_of(template: Template, settings: Settings) -> Target:
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
