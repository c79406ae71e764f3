"""Errors that the user must act on.

A failed candidate is a value (`evoflash.core.evaluation.Evaluation`), never an exception. Exceptions are for problems
that the user must solve, so each message ends with what to do. `exit_code` is part of the command line's interface:
0 success, 1 nothing correct found, 2 usage, 3 the environment lacks something, 130 interrupted and resumable.
"""

import difflib
from collections.abc import Iterable


class EvoflashError(Exception):
    """Base class of all errors that a user can act on."""

    exit_code = 2


class UsageError(EvoflashError):
    """A request names something that does not exist or does not parse."""


class NoPackageError(UsageError):
    """A kernel that no package can ask: its problem has features that a package's calls cannot say."""


class SpaceError(UsageError):
    """A search space or template is malformed, or has no valid genome for this problem and device."""


class NotFoundError(UsageError):
    """A run, candidate, template, shape or strategy that does not exist."""


class NothingToShowError(UsageError):
    """A figure of a run that has not recorded what the figure shows."""


class MissingError(EvoflashError):
    """The environment lacks something: a compiler, a device, a package."""

    exit_code = 3


class StorageError(EvoflashError):
    """The database or the runs folder cannot be read or written."""

    exit_code = 3


class WorkerError(EvoflashError):
    """The evaluation worker cannot be used at all. A candidate that crashes the worker does not raise this."""

    exit_code = 3


class NothingCorrectError(EvoflashError):
    """A search found no correct kernel."""

    exit_code = 1


class RefusedError(EvoflashError):
    """A kernel failed verification."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> NotFoundError:
    """The error for an unknown name, with the closest known names as suggestions."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(repr(each) for each in near)}?"
    elif names:
        hint = f"choose from: {', '.join(names)}"
    else:
        hint = "none exist yet"
    return NotFoundError(f"unknown {kind} {name!r}; {hint}")
