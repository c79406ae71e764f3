"""The base of the frozen values that travel between processes and into the database."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of the frozen values that travel between processes and into the database."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
