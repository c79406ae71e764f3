"""Extension points: entry-point groups that installed packages can provide.

- `evoflash.templates`: packages that contain templates/ and search_spaces/ (see `resources`).
- `evoflash.problems`: subclasses of `Problem`, by kind.
- `evoflash.proposers`: proposers, by strategy name.
- `evoflash.exporters`: functions like `export.package.write`, by kind of problem.
"""

import functools
from importlib import metadata
from typing import Any

from evoflash.errors import unknown
from evoflash.problems import AttentionProblem, Problem


@functools.cache
def installed(group: str) -> dict[str, Any]:
    """The objects that plug-ins provide for a group, by name."""
    return {entry.name: entry.load() for entry in metadata.entry_points(group=f"evoflash.{group}")}


def problem_of(kind: str) -> type[Problem]:
    """The problem class of a kind.

    Raises:
        NotFoundError: for a kind that is neither built in nor installed.
    """
    kinds = {AttentionProblem.kind: AttentionProblem, **installed("problems")}
    if kind not in kinds:
        raise unknown("problem", kind, kinds)
    return kinds[kind]
