"""Errors for the person at the keyboard.

A candidate that fails is a value (`evoflash.core.evaluation.Evaluation`), never an exception. What is raised is what a
person must act on, so each message ends with the next action. `exit_code` is a promise of the command line: 0 done, 1
nothing correct found, 2 usage, 3 the environment lacks something, 130 interrupted and resumable.
"""

import difflib
from collections.abc import Iterable


class EvoflashError(Exception):
    """Base of every error that a person can act on."""

    exit_code = 2


class UsageError(EvoflashError):
    """Something that was asked for does not exist or does not parse."""


class SpaceError(UsageError):
    """A search space or template is malformed, or admits nothing on this problem and device."""


class NotFoundError(UsageError):
    """A run, candidate, template, shape or strategy that does not exist."""


class MissingError(EvoflashError):
    """The environment lacks something: a compiler, a device, a package."""

    exit_code = 3


class StorageError(EvoflashError):
    """The database or the runs folder cannot be read or written."""

    exit_code = 3


class WorkerError(EvoflashError):
    """The evaluation worker cannot be started at all (a crash of a candidate is not this)."""

    exit_code = 3


class NothingCorrectError(EvoflashError):
    """A search ended without one correct kernel."""

    exit_code = 1


class RefusedError(EvoflashError):
    """A kernel that was to be verified is not to be believed."""

    exit_code = 1


def unknown(kind: str, name: str, known: Iterable[str]) -> NotFoundError:
    """The error for a name that does not exist, with the nearest names that do."""
    names = sorted(map(str, known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(repr(each) for each in near)}?"
    elif names:
        hint = f"choose from: {', '.join(names)}"
    else:
        hint = "there are none yet"
    return NotFoundError(f"unknown {kind} {name!r}; {hint}")
