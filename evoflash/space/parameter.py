"""Parameters of search spaces: the values that a gene may have."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    model_validator,
)

# Names are used in paths, ninja files, Python modules and C++, so they must not contain special characters of these.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
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
