"""What a kernel computes: the extension point for problems.

A problem knows its inputs, its float64 reference, its baselines and its tolerances. It knows nothing of templates or
search. A problem travels to worker processes as JSON, so it is a frozen pydantic model; PyTorch is imported only
where tensors are made.

To add one: subclass `Problem`, put its C header into `templates/include/`, name it in the entry-point group
`evoflash.problems`.
"""

from __future__ import annotations

import abc
import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import field_serializer

from evoflash.core.record import Record

if TYPE_CHECKING:
    import torch

Inputs = tuple["torch.Tensor", ...]
Baseline = Callable[..., "torch.Tensor"]

BASE_SEEDS = (0, 42, 12345)


@dataclass(frozen=True)
class Bounds:
    """What a candidate's errors are held to; absolute."""

    max_error: float
    rms_error: float
    mean_error: float


class Problem(Record, abc.ABC):
    """One computation of one size and dtype."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Its fields and its kind as plain data; `evoflash.plugins.problem_from_dict` is the reverse."""
        return {"kind": self.kind, **self.model_dump(mode="json")}

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """A short text that names this problem among others, e.g. "1x8x512x64 float16"."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """What constraints and templates may read, by name: plain numbers, strings and booleans."""

    @property
    @abc.abstractmethod
    def flops(self) -> int:
        """Floating-point operations that any algorithm must do (a multiply-add is two)."""

    @property
    @abc.abstractmethod
    def min_bytes(self) -> int:
        """Bytes that any algorithm must move: each input read once, the output written once."""

    @abc.abstractmethod
    def cases(self) -> tuple[Case, ...]:
        """Every case that a finalist is checked on: the base shapes and the adversaries."""

    @abc.abstractmethod
    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """Input tensors for a seed; the same values on every device."""

    @abc.abstractmethod
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs, in their order."""

    @abc.abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output; its dtype is that of the first input."""

    @abc.abstractmethod
    def reference(self, inputs: Inputs) -> torch.Tensor:
        """The result in float64, computed in float64 from the same inputs."""

    @abc.abstractmethod
    def plain(self, inputs: Inputs) -> torch.Tensor:
        """PyTorch's own answer in the inputs' dtype; its error is the measure of a candidate's."""

    @abc.abstractmethod
    def bounds(self, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """What errors are allowed, given the error of PyTorch's own answer on the same inputs."""

    def fresh_cases(self, seed: int) -> tuple[Case, ...]:
        """Cases that nobody could know before, for a kernel that is right on the known ones only."""
        return (Case(name=f"fresh seed {seed}", problem=self, seed=seed),)

    def mirror(self, inputs: Inputs) -> bool:
        """Changes every input in place so that the right answer is the old one negated, to the bit.

        Twice is as if it had not been. A kernel that keeps results by address shows here, at the price of a launch.
        False where the problem knows no such change; the inputs are as they were then.
        """
        return False

    def unspecified(self, inputs: Inputs) -> torch.Tensor | None:
        """Places of the output, as booleans, where a NaN is as right as the reference's number; None for nowhere."""
        return None

    @abc.abstractmethod
    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """Rivals by name for a target ("cuda" or "cpu"); each takes the inputs and returns the output."""

    @abc.abstractmethod
    def arguments(self, inputs: Inputs, out: torch.Tensor) -> ctypes.Structure:
        """The ctypes twin of the problem's C structure, filled; its field `workspace` is set by the caller."""


class Case(Record):
    """One correctness check: a problem, a seed, and how its inputs are made ("normal" or an adversary)."""

    name: str
    problem: Any
    seed: int = 0
    variant: str = "normal"

    @field_serializer("problem")
    def _problem_to_dict(self, problem: Problem) -> dict[str, Any]:
        return problem.to_dict()


def searched_cases(problem: Problem) -> list[Case]:
    """The checks of the searched shape itself."""
    return [Case(name=f"seed {seed}", problem=problem, seed=seed) for seed in BASE_SEEDS]
