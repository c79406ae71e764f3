"""The base classes of the frozen records that are sent between processes, stored in the database, or printed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base class of the frozen records that are sent between processes and stored in the database."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Document(Record):
    """Base class of what a command prints with `--json`: one object, described in docs/json.md by its docstrings."""
