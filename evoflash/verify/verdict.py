"""What a verification found: frozen values, as they go into its JSON document."""

from __future__ import annotations

import math
from typing import Any, Literal

from evoflash.core.evaluation import Accuracy
from evoflash.core.record import Record
from evoflash.core.status import Gate

Outcome = Literal["passed", "declined", "refused"]


class Checked(Record):
    """A kernel on one case, or at one further gate.

    Attributes:
        outcome: "declined" where the kernel said that it does not take the case.
        gate: what refused it.
    """

    case: str
    outcome: Outcome
    gate: Gate | None = None
    reason: str = ""
    accuracy: Accuracy | None = None

    @property
    def share(self) -> float | None:
        """The larger of the two errors over what was allowed; beyond 1 is a refusal."""
        each = self.accuracy
        if each is None:
            return None
        pairs = ((each.max_error, each.max_bound), (each.rms_error, each.rms_bound))
        return max(error / bound if bound > 0 else math.inf if error > 0 else 0.0 for error, bound in pairs)


class Verdict(Record):
    """Whether a kernel may be believed.

    Attributes:
        name, origin: how tables call it, and what the person named.
        problem: the text of the problem that it is for.
        gate, reason: what refused it; None and empty when it was accepted.
        seed: of the cases that nobody could know before; the same one gives the same cases.
        checks: in their order; the last one is the refusal.
        p50_us, floor_us: what a launch takes, and what any kernel needs at least on this device.
        sanitized: tool -> its summary, of the sanitizers that ran; `warnings` is what they said beside.
    """

    name: str
    origin: str
    problem: str
    accepted: bool
    gate: Gate | None
    reason: str
    seed: int
    checks: tuple[Checked, ...]
    p50_us: float | None = None
    floor_us: float | None = None
    sanitized: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def worst(self) -> Checked | None:
        """The case with the largest error over what was allowed."""
        judged = [each for each in self.checks if each.share is not None]
        return max(judged, key=lambda each: each.share or 0.0, default=None)

    @property
    def document(self) -> dict[str, Any]:
        """As JSON values, with the worst case by name."""
        worst = self.worst
        found = {"worst_case": worst.case, "worst_share": worst.share} if worst is not None else {}
        return {**self.model_dump(mode="json"), **found}
