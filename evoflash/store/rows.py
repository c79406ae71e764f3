"""Rows of a query, made into dataclasses and records."""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

from evoflash.core.record import Record

Row = Mapping[Any, Any]
Value = TypeVar("Value")
SomeRecord = TypeVar("SomeRecord", bound=Record)


def checked(kind: type[Value], row: Row) -> Value:
    """Creates a dataclass from columns; SQLite may have values of any type in them.

    Raises:
        ValidationError: when a value is not of its field's type.
    """
    return _adapter(kind).validate_python(dict(row))


@functools.cache
def _adapter(kind: type[Value]) -> TypeAdapter[Value]:
    return TypeAdapter(kind)


def record(kind: type[SomeRecord], row: Row) -> SomeRecord:
    """Creates a record from the columns of the same names."""
    return kind(**{name: row[name] for name in kind.model_fields})
