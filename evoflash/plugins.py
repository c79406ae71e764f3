"""Extension points: entry-point groups that installed packages can provide.

- `evoflash.templates`: packages that contain templates/ and search_spaces/ (see `resources`).
- `evoflash.problems`: subclasses of `Problem`, by kind.
- `evoflash.proposers`: proposers, by strategy name.
- `evoflash.exporters`: functions like `export.package.write`, by kind of problem.
"""

import importlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from evoflash.errors import unknown
from evoflash.problems import Problem
from evoflash.system import entry_points

# The problems that ship, imported when one is met: what uses plug-ins knows none of them.
PROBLEMS = {
    "attention": "evoflash.problems.attention:AttentionProblem",
    "function": "evoflash.problems.function:FunctionProblem",
}


def installed(group: str) -> dict[str, Any]:
    """The objects that plug-ins provide for a group, by name, without those that cannot be loaded."""
    return entry_points.loaded(f"evoflash.{group}")


def problem_of(kind: str) -> type[Problem]:
    """The problem class of a kind.

    Raises:
        NotFoundError: for a kind that is neither built in nor installed.
    """
    others = installed("problems")
    if kind in PROBLEMS and kind not in others:
        module, _, name = PROBLEMS[kind].partition(":")
        return getattr(importlib.import_module(module), name)
    if kind not in others:
        raise unknown("problem", kind, [*PROBLEMS, *others])
    return others[kind]


def problem_from_dict(data: Mapping[str, Any]) -> Problem:
    """A problem from plain data; the reverse of `Problem.to_dict`.

    Raises:
        NotFoundError: for a kind that neither ships nor is installed.
        ValidationError: for fields that make no problem of its kind.
    """
    fields = dict(data)
    return problem_of(fields.pop("kind"))(**fields)


def _validated(value: Any) -> Any:
    return problem_from_dict(value) if isinstance(value, Mapping) else value


# A field of a `Record` that holds a problem of any kind, and is its `to_dict` in JSON.
AnyProblem = Annotated[Problem, BeforeValidator(_validated), PlainSerializer(Problem.to_dict)]
