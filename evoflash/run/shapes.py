"""The shapes of a run: one, or several that one kernel must serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.core.record import Record
from evoflash.plugins import AnyProblem


class Shape(Record):
    """A problem, and what the person called it."""

    name: str
    problem: AnyProblem


def shapes_on_record(plan: Mapping[str, Any]) -> list[Any]:
    """The shapes of a plan as stored, in the form of today.

    An earlier evoflash wrote the first shape as `problem` and `shape`, and further ones as `beside`.
    """
    if "shapes" in plan or "problem" not in plan:
        return list(plan.get("shapes", ()))
    first = {"name": plan.get("shape", ""), "problem": plan["problem"]}
    return [first, *({"name": each["shape"], "problem": each["problem"]} for each in plan.get("beside") or ())]
