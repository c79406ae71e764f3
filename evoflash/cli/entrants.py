"""Parsing of kernels that are named on the command line."""

from __future__ import annotations

import os
from pathlib import Path

from evoflash.bench.entrants import Entrant, of_candidate, of_family, of_package, package_folder
from evoflash.config import Settings
from evoflash.errors import NotFoundError
from evoflash.report import runs as report
from evoflash.store import RunStore

KERNEL_HELP = (
    "A candidate's id, run or run:N for a run's best, the folder of an exported package, FAMILY, or "
    'FAMILY:{"gene": value, ...}; repeatable.'
)


def entrant_of(text: str, settings: Settings, seed: int) -> Entrant:
    """The kernel that the user named.

    Raises:
        NotFoundError: for a candidate, run, folder or family that does not exist.
    """
    word, _, number = text.partition(":")
    if text.isdecimal() or (word == "run" and (text == "run" or number.isdecimal())):
        with RunStore.open(settings.db) as store:
            if text.isdecimal():
                return of_candidate(store, int(text), text)
            best = report.best(store, int(number) if number else None)
            return of_candidate(store, best.candidate, f"run:{best.run}")
    path = Path(text).expanduser()
    if package_folder(path) is not None:
        return of_package(path)
    if os.sep in word:
        raise NotFoundError(f"{text} is not the folder of an exported package; create one with `evoflash export`")
    return of_family(text, seed, settings.templates)
