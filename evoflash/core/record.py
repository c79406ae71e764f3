"""The base class of the frozen records that are sent between processes and stored in the database."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base class of the frozen records that are sent between processes and stored in the database."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
