"""`evoflash new problem` and `new family`: starting points to be edited."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evoflash import config, scaffold, targets
from evoflash.api import shapes
from evoflash.cli import options
from evoflash.errors import UsageError
from evoflash.problems import FunctionProblem

app = typer.Typer(no_args_is_help=True, help="Write a starting point: a problem's file, or a family of kernels.")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write into; default: this one.")]


class Kind(StrEnum):
    """What a family is for."""

    CPU = "cpu"
    CUDA = "cuda"


@app.command(epilog="Example: evoflash new problem rms")
def problem(
    name: Annotated[str, typer.Argument(help="The function's name, and the file's.")],
    out: Out = Path("."),
) -> None:
    """Write NAME.py: a PyTorch function, its inputs, and what else a problem's file may say."""
    path = scaffold.write_problem(name, out)
    print(path)
    print(
        f"edit it, then write kernels: evoflash new family {name}_naive --problem {path}\n"
        "see docs/your-own-kernel.md for the way from here to an exported kernel"
    )


@app.command(epilog="Example: evoflash new family rms_rows --problem rms.py")
def family(
    name: Annotated[str, typer.Argument(help="The family's name.")],
    problem: options.Problem = None,
    shape: Annotated[
        str | None, typer.Option("--shape", help="Sizes at which the function is run to learn its signature.")
    ] = None,
    target: Annotated[Kind, typer.Option("--target", help="What its kernels run on.")] = Kind.CPU,
    out: Out = Path("."),
    templates: options.Templates = None,
) -> None:
    """Write a family for a problem: a naive kernel, a space of two parameters, and a test."""
    if problem is None:
        raise UsageError("no problem is given; name it by --problem: a Python file, or one that ships")
    scaffold.family_paths(name, target.value, out)  # before the function is run
    settings = config.load(templates=templates)
    device = "cuda" if target is Kind.CUDA and targets.why_not_cuda() is None else "cpu"
    described = shapes.one(problem, shape, None, settings, device)
    assert isinstance(described, FunctionProblem)
    asked = os.path.relpath(problem, out) if Path(problem).is_file() else problem
    files = scaffold.write_family(name, described, asked, target.value, out)
    for path in files.paths:
        print(path)
    if files.computation is not None:
        print(
            f"it writes zeros, which every check refuses, until you put the computation into {files.paths[0]}, "
            f"line {files.computation}"
        )
    print(f"then: evoflash verify {name} --problem {problem} --target {target.value} --templates {out}")
