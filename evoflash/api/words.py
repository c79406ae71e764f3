"""Words: how runs and candidates are named, the same in every command and in Python.

A run is its number, `latest` or `best`. Where a candidate is wanted, a bare number is a candidate's id, and a run
stands for its best candidate: `latest`, `best` or `run:N`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evoflash.errors import UsageError
from evoflash.report import runs as report
from evoflash.store import RunStore, RunSummary

NUMBER = re.compile(r"[0-9]{1,18}")
RUN = re.compile(r"latest|best|(?:run:)?([0-9]{1,18})")

RUN_HELP = "its number, latest (the newest), or best (the highest speed-up over the best baseline)"
CANDIDATE_HELP = "its id, or latest, best or run:N for the best of that run"


@dataclass(frozen=True)
class RunWord:
    """What names a run.

    Attributes:
        number: None for `latest` and `best`.
    """

    text: str
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> RunWord:
        """Reads a word.

        Raises:
            UsageError: for a word that names no run.
        """
        found = RUN.fullmatch(text)
        if found is None:
            raise UsageError(
                f"{text!r} names no run; write its number, latest or best: `evoflash runs list` shows the numbers"
            )
        return cls(text, int(found[1]) if found[1] else None)

    def find(self, store: RunStore) -> RunSummary:
        """The run.

        Raises:
            NotFoundError: when there is no such run, or none that could be the best.
            UsageError: for `best` of several problems or devices.
        """
        return report.best_run(store) if self.text == "best" else store.run(self.number)


LATEST = RunWord("latest")


@dataclass(frozen=True)
class CandidateWord:
    """What names a candidate: its id, or the run whose best it is."""

    id: int | None = None
    run: RunWord = LATEST

    @classmethod
    def parse(cls, text: str) -> CandidateWord:
        """Reads a word.

        Raises:
            UsageError: for a word that names no candidate.
        """
        if NUMBER.fullmatch(text):
            return cls(id=int(text))
        if is_run(text):
            return cls(run=RunWord.parse(text))
        raise UsageError(
            f"{text!r} names no candidate; write its id, or latest, best or run:N for the best of that run: "
            "`evoflash runs best` shows an id"
        )

    def find(self, store: RunStore) -> int:
        """The candidate's id; one that was named by its id may not exist.

        Raises:
            NotFoundError: when there is no such run, or none that could be the best.
            NothingCorrectError: when the run has no correct candidate.
            UsageError: for `best` of several problems or devices.
        """
        return self.id if self.id is not None else report.best(store, self.run.find(store).id).candidate


def is_run(text: str) -> bool:
    """Whether a word names a run."""
    return RUN.fullmatch(text) is not None


def run_of(store: RunStore, word: RunWord | None) -> RunSummary:
    """The run that was named, by default the latest.

    Raises:
        NotFoundError: when there is no such run, or none that could be the best.
        UsageError: for `best` of several problems or devices.
    """
    return (word or LATEST).find(store)
