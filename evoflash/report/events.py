"""Progress for programs: one JSON object a line, on standard error."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Any, Self

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation


class Events:
    """Says what happens; a candidate is told of when it is in the database, not before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """PyTorch's own times on a shape."""
        self._say("baselines", shape=shape, p50_us=times_us)

    def update(self, building: int, examining: int) -> None:
        """Nothing: this is for who waits, not for who reads later."""

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """A candidate has a result, which is in the database."""
        self._say(
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
        """Something that a person may want to know."""
        self._say("note", text=text)

    def _say(self, event: str, **what: Any) -> None:
        print(json.dumps({"event": event, **what}), file=sys.stderr, flush=True)
