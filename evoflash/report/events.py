"""Progress for programs: one JSON object per line, on standard error."""

from __future__ import annotations

import json
import sys
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.progress import SilentProgress


class Events(SilentProgress):
    """Prints events; that of a candidate only after it has been stored. Counts of work at hand are no events."""

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """The times of the baselines on a shape."""
        self._print("baselines", shape=shape, p50_us=times_us)

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result, which is in the database."""
        self._print(
            "candidate",
            shape=shape,
            index=candidate.index,
            family=candidate.family,
            genome=dict(candidate.genome),
            operator=candidate.operator,
            parents=candidate.parents,
            status=evaluation.status,
            reason=evaluation.reason,
            p50_us=evaluation.fitness_us,
            best=is_best,
        )

    def note(self, text: str) -> None:
        """A message for the user."""
        self._print("note", text=text)

    def _print(self, event: str, **what: Any) -> None:
        print(json.dumps({"event": event, **what}), file=sys.stderr, flush=True)
