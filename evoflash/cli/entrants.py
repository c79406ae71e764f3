"""Parsing of kernels that are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoflash.api import families
from evoflash.api.families import FUNCTION
from evoflash.api.words import CANDIDATE_HELP, CandidateWord, is_run
from evoflash.bench.entrants import Entrant, FixedEntrant, of_candidate, of_family, of_package, package_folder
from evoflash.config import Settings
from evoflash.errors import NotFoundError, UsageError
from evoflash.store import RunStore

KERNEL_HELP = (
    f"A candidate ({CANDIDATE_HELP}), the folder of an exported package, FAMILY, or "
    'FAMILY:{"gene": value, ...}; repeatable.'
)


def names_candidate(text: str) -> bool:
    """Whether a word names a candidate of the database, not a folder or family."""
    return text.isdecimal() or is_run(text) or text.partition(":")[0] == "run"


def machine_of(entrants: Sequence[Entrant]) -> Mapping[str, Any]:
    """The machine of the first run that one of these was found by; their device is the one to take, if it is here."""
    return next((each.machine for each in entrants if isinstance(each, FixedEntrant) and each.machine), {})


def entrant_of(text: str, settings: Settings, seed: int) -> Entrant:
    """The kernel that the user named.

    Raises:
        NotFoundError: for a candidate, run, folder or family that does not exist.
        UsageError: for a word that names no kernel, or a file in place of a family.
    """
    word = text.partition(":")[0]
    if names_candidate(text):
        named = CandidateWord.parse(text)
        with RunStore.open(settings.db) as store:
            return of_candidate(store, named.find(store), text)
    path = Path(text).expanduser()
    if package_folder(path) is not None:
        return of_package(path)
    if os.sep in word:
        if not path.is_dir():
            families.refuse_path(word)
        raise NotFoundError(f"{text} is not the folder of an exported package; create one with `evoflash export`")
    try:
        families.named(word, settings.templates)
    except NotFoundError:
        if FUNCTION.fullmatch(text):
            raise UsageError(
                f"{text} is a Python function, not a kernel to be built; check it by `evoflash verify {text}`"
            ) from None
        raise
    return of_family(text, seed, settings.templates)
