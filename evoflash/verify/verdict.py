"""Records of a verification, as in its JSON document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import computed_field

from evoflash.core.evaluation import Accuracy
from evoflash.core.record import Document, Record
from evoflash.core.status import Gate

Outcome = Literal["passed", "declined", "refused"]


class Checked(Record):
    """The result of one case, or of one further gate.

    Attributes:
        case: the name of the case or gate.
        outcome: "declined" if the kernel does not support the case.
        gate: the gate that refused the kernel, if any.
        reason: why.
        accuracy: its errors, if the case has an output to compare.
    """

    case: str
    outcome: Outcome
    gate: Gate | None = None
    reason: str = ""
    accuracy: Accuracy | None = None

    @property
    def share(self) -> float | None:
        """The larger ratio of max and rms error to their bounds; a value above 1 is a refusal."""
        return self.accuracy.share if self.accuracy is not None else None


class Verdict(Record):
    """The result of a verification.

    Attributes:
        name: the name of the kernel in tables.
        origin: the kernel as the user named it.
        problem: the label of the problem that it is for.
        accepted: whether it passed every gate.
        gate, reason: the gate that refused it, and why; None and empty if it was accepted.
        seed: the seed of the random cases.
        checks: the results in order; the last one may be a refusal.
        p50_us: the median time of a launch.
        floor_us: the lower bound on the time of any kernel on this device.
        sanitized: tool -> summary, of the sanitizers that ran.
        warnings: warnings of the sanitizers that do not refuse the kernel.
        seconds: wall time of the verification.
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
        """The case with the largest error in relation to its bound."""
        measured = [each for each in self.checks if each.share is not None]
        return max(measured, key=lambda each: each.share or 0.0, default=None)

    @computed_field
    @property
    def worst_case(self) -> str | None:
        """The name of the case with the largest error in relation to its bound."""
        return self.worst.case if self.worst is not None else None

    @computed_field
    @property
    def worst_share(self) -> float | None:
        """That error over its bound; a value above 1 is a refusal."""
        return self.worst.share if self.worst is not None else None


class VerifyDocument(Document):
    """The verdicts on kernels or functions.

    Attributes:
        environment: facts of machine, device and software.
        verdicts: in the order in which the kernels were named.
    """

    environment: dict[str, Any]
    verdicts: tuple[Verdict, ...]
