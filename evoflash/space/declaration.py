"""Declarations of search spaces: the content of search_spaces/<family>.yaml, validated on reading."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from evoflash import resources
from evoflash.errors import SpaceError, unknown
from evoflash.space.expression import FUNCTIONS, Expression, compile_expression

RESERVED = {"problem", "device", "genome", "derived", *FUNCTIONS}


# Names are used in paths, ninja files, Python modules and C++, so they must not contain special characters of these.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Family = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Word = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]*$")]
Value = Annotated[StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | Word, "a gene"]


class Parameter(BaseModel):
    """A parameter and its values. Neighbouring values of an ordinal parameter are similar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ordinal", "categorical", "flag"]
    values: tuple[Value, ...] = ()
    about: str = ""

    @model_validator(mode="before")
    @classmethod
    def _flag_values(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == "flag":
            if "values" in data:
                raise ValueError("a flag has no values")
            return {**data, "values": (False, True)}
        return data

    @model_validator(mode="after")
    def _distinct(self) -> "Parameter":
        if not self.values or len({repr(value) for value in self.values}) != len(self.values):
            raise ValueError("values must be given and distinct")
        return self

    def place(self, value: object) -> int:
        """The index of a value; True differs from 1."""
        return next(number for number, each in enumerate(self.values) if value == each and type(value) is type(each))

    def admits(self, value: object) -> bool:
        """Whether this is one of the values; True differs from 1."""
        return any(value == each and type(value) is type(each) for each in self.values)


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
    """The content of search_spaces/<family>.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    parameters: dict[Name, Parameter] = Field(min_length=1)
    derived: dict[Name, str | int] = {}
    constraints: tuple[Constraint, ...] = ()
    seeds: tuple[Seed, ...] = ()


def read(path: Path) -> Declaration:
    """Reads a declaration from its file.

    Raises:
        SpaceError: for an unknown key or a constraint that does not parse; names the file and the key.
    """
    content = resources.read_yaml(path)
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
    return declaration


def _refuse_unknown_names(expression: Expression, known: set[str]) -> None:
    for name in expression.names - known:
        raise SpaceError(f"{expression.where}: {expression.text!r}: {unknown('name', name, known)}")
