"""Declarations of search spaces: the content of search_spaces/<family>.yaml, validated on reading."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from evoflash import resources
from evoflash.errors import SpaceError, unknown
from evoflash.space import prior
from evoflash.space.expression import FUNCTIONS, Expression, compile_expression
from evoflash.space.parameter import Name, Parameter, Value
from evoflash.space.prior import Prior

RESERVED = {"problem", "device", "genome", "derived", *FUNCTIONS}

# Families are named like parameters, but may begin with a digit, and have dots and dashes.
Family = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Constraint(BaseModel):
    """An expression that must hold.

    Attributes:
        expr: the expression.
        why: a readable reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expr: str
    why: str


class Seed(BaseModel):
    """A known-good genome, and where and when it was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    genome: dict[str, Value]
    device: str
    date: str
    note: str = ""


class Declaration(BaseModel):
    """The content of search_spaces/<family>.yaml, with the prior that lies beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    parameters: dict[Name, Parameter] = Field(min_length=1)
    derived: dict[Name, str | int] = {}
    constraints: tuple[Constraint, ...] = ()
    seeds: tuple[Seed, ...] = ()
    prior: Prior | None = None


def read(path: Path) -> Declaration:
    """Reads a declaration from its file.

    Raises:
        SpaceError: for an unknown key or a constraint that does not parse; names the file and the key.
    """
    content = resources.read_yaml(path)
    if isinstance(content, dict) and "prior" in content:
        raise SpaceError(f"{path}: a prior has a file of its own; move it to {prior.path_of(path)}")
    try:
        declaration = Declaration.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpaceError(f"{path}: {where}: {first['msg']}; fix the file") from None
    for name in [*declaration.parameters, *declaration.derived]:
        if name in RESERVED or (name in declaration.derived and name in declaration.parameters):
            raise SpaceError(f"{path}: {name!r} is reserved or used twice; choose another name")
    known = {"problem", "device", *declaration.parameters}
    for name, text in declaration.derived.items():
        _refuse_unknown_names(compile_expression(str(text), f"{path}: derived {name}"), known)
        known.add(name)
    for constraint in declaration.constraints:
        _refuse_unknown_names(compile_expression(constraint.expr, f"{path}: constraint"), known)
    return declaration.model_copy(update={"prior": prior.read(path, declaration.parameters)})


def _refuse_unknown_names(expression: Expression, known: set[str]) -> None:
    for name in expression.names - known:
        raise SpaceError(f"{expression.where}: {expression.text!r}: {unknown('name', name, known)}")
