"""The base class of problems, which is an extension point.

A problem defines inputs, a float64 reference, baselines and tolerances. It is independent of templates and the search.
Problems are sent to worker processes as JSON, so they are frozen pydantic models; PyTorch is imported only where
tensors are created.

A PyTorch function needs no class of its own: see `problems.function`. For what that cannot say, subclass `Problem`,
and register it in the entry-point group `evoflash.problems`. Its C header is generated from `c_interface`.
"""

from __future__ import annotations

import abc
import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_serializer

from evoflash.core.record import Record
from evoflash.problems.c_interface import CInterface
from evoflash.problems.c_interface.arguments import arguments
from evoflash.problems.c_interface.header import header
from evoflash.problems.rival import Rival

if TYPE_CHECKING:
    import torch

Inputs = tuple["torch.Tensor", ...]
Outputs = tuple["torch.Tensor", ...]  # in the order of `Problem.outputs`
Baseline = Callable[..., "torch.Tensor | Outputs"]  # the one output, or all of them

BASE_SEEDS = (0, 42, 12345)


class NotTakenError(Exception):
    """A user's function has no arguments for a problem; the message says which."""


@dataclass(frozen=True)
class Bounds:
    """The allowed absolute errors."""

    max_error: float
    rms_error: float
    mean_error: float


@dataclass(frozen=True)
class Output:
    """One of the tensors that a kernel writes.

    Attributes:
        name: what messages call it where a problem has several.
        dtype: as PyTorch names it.
        updates: the number of the input that is updated in place: the output is in its memory. None for an output of
            its own.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    updates: int | None = None

    def empty(self, device: str | torch.device) -> torch.Tensor:
        """A contiguous tensor for it, whose values are undefined."""
        import torch

        return torch.empty(self.shape, dtype=getattr(torch, self.dtype), device=device)


def updated(outputs: Sequence[Output], inputs: Inputs) -> Outputs:
    """The outputs that are inputs updated in place, in their order."""
    return tuple(inputs[each.updates] for each in outputs if each.updates is not None)


class Problem(Record, abc.ABC):
    """One computation of one size and dtype.

    Attributes:
        kind: the name of the class in plain data.
        plain_baseline: the unfused baseline, against which every speed is given beside the fastest.
        is_overflow_excused: whether any output is accepted where that of `plain` overflows and the reference does not.
    """

    kind: ClassVar[str]
    plain_baseline: ClassVar[str]
    is_overflow_excused: ClassVar[bool] = False

    def to_dict(self) -> dict[str, Any]:
        """Its fields and its kind as plain data; `evoflash.plugins.problem_from_dict` is the reverse."""
        return {"kind": self.kind, **self.model_dump(mode="json")}

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """A short description, e.g. "1x8x512x64 float16"."""

    @property
    def computes(self) -> str:
        """What is computed, as manifests name it under `problem`."""
        return self.kind

    @property
    def c_interface(self) -> CInterface:
        """What its kernels receive, from which the C header that they include is generated.

        It is the same for all problems that a kernel may be asked for: what only some have is absent from the others.
        Without an override there are the tensors alone: input0, input1 … and the outputs by their names.
        """
        read = [f"input{number}" for number in range(len(self.input_shapes()))]
        return CInterface.of(self.computes, read, [each.name for each in self.outputs()])

    @property
    def header(self) -> tuple[str, str]:
        """The name and the text of that C header."""
        return self.c_interface.header, header(self.c_interface)

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """The values that constraints and templates can read, by name: numbers, strings and booleans."""

    def likeness(self) -> dict[str, Any]:
        """Plain values by name, by whose differences two problems that compute the same are more or less alike."""
        return self.to_dict()

    @property
    def features(self) -> tuple[str, ...]:
        """What it has beyond the plain form of its kind. A family takes it only if its manifest names all of these."""
        return ()

    @property
    @abc.abstractmethod
    def flops(self) -> int:
        """Floating-point operations that any algorithm needs (a multiply-add counts as two)."""

    @property
    @abc.abstractmethod
    def min_bytes(self) -> int:
        """Bytes that any algorithm must move: each input read once, each output written once."""

    @abc.abstractmethod
    def cases(self) -> tuple[Case, ...]:
        """The cases of the finals: base shapes and adversarial inputs."""

    @abc.abstractmethod
    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """The input tensors for a seed."""

    @abc.abstractmethod
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the inputs, in order."""

    def input_dtypes(self) -> tuple[str, ...]:
        """The element types of the inputs, as PyTorch names them; without an override the fact `dtype` for all."""
        return (self.facts()["dtype"],) * len(self.input_shapes())

    def index_values(self, seed: int = 0) -> Mapping[int, Sequence[int]]:
        """The values of inputs that kernels use as sizes or indices, by the number of the input.

        Where there are fewer than elements, they begin again.
        """
        return {}

    @abc.abstractmethod
    def outputs(self) -> tuple[Output, ...]:
        """What a kernel writes: one output, or several with names of their own.

        Those that are inputs updated in place come last.
        """

    @abc.abstractmethod
    def reference(self, inputs: Inputs) -> Outputs:
        """The expected outputs, computed in float64 from the same inputs, which stay as they are."""

    @abc.abstractmethod
    def plain(self, inputs: Inputs) -> Outputs:
        """PyTorch's own results in the dtypes of the outputs; the bounds are derived from their errors.

        The inputs stay as they are.
        """

    @abc.abstractmethod
    def bounds(self, output: Output, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """The allowed errors of one of the outputs, given the errors of `plain` on the same inputs."""

    @property
    def general_case(self) -> Case | None:
        """The one of the cases that a kernel passes only if it takes every size; None for a problem without such."""
        return None

    def sizes_taken(self, passed: Collection[str]) -> Literal["any", "some", "its own"]:
        """Which sizes a kernel takes, by the names of the cases that it passed."""
        return "any" if self.general_case is None or self.general_case.name in passed else "its own"

    def hardest_cases(self) -> tuple[Case, ...]:
        """Those of the cases that the first right kernel of a family meets in the search already; by default all."""
        return self.cases()

    def unmasked(self, inputs: Inputs) -> tuple[Problem, Inputs] | None:
        """The same without what hides parts of the inputs, and its inputs; the errors of its `plain` count as well.

        Where most of a case is hidden, the largest of the few errors that are left says little of what rounding does.
        """
        return None

    def random_cases(self, seed: int) -> tuple[Case, ...]:
        """Random cases, which expose kernels that are only correct on the standard cases."""
        return (Case(name=f"fresh seed {seed}", problem=self, seed=seed),)

    def mirror(self, inputs: Inputs) -> tuple[int, ...]:
        """Changes the inputs in place so that outputs are negated, bit for bit; twice restores the inputs.

        This exposes kernels that cache results by address, for the cost of one launch.

        Returns:
            What each output is multiplied by: -1 for at least one of them, and 1 for those that stay as they are.
            Empty, with nothing changed, if there is no such transformation for the problem.
        """
        return ()

    def unspecified(self, inputs: Inputs) -> tuple[torch.Tensor | None, ...]:
        """Mask of the elements of each output where a NaN is accepted as well; None for none."""
        return (None,) * len(self.outputs())

    @abc.abstractmethod
    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """The baselines by name for a target ("cuda" or "cpu"); each takes the inputs and returns the outputs.

        What is updated in place they update, and do not return.
        """

    def rivals(self, target: str) -> tuple[Rival, ...]:
        """What other packages offer for it on a target, installed or not."""
        return ()

    def named(self, inputs: Inputs, outputs: Outputs) -> Mapping[str, Any]:
        """The tensors and numbers that a kernel is given, by the names of `c_interface`, without absent ones.

        They are the keyword arguments of a Python kernel's `launch`. Without an override there are all tensors.
        """
        return self.c_interface.named((*inputs, *outputs), {})

    def call_of(self, function: Callable[..., Any], inputs: Inputs) -> Callable[[], Any]:
        """A call of a user's function on these inputs, by the arguments that such functions have for this problem.

        Without an override these are the inputs in their order.

        Raises:
            NotTakenError: when they have none for it, or the function cannot return all outputs.
        """
        return lambda: function(*inputs)

    def arguments(self, inputs: Inputs, outputs: Outputs) -> ctypes.Structure:
        """The same as the struct of the header; the caller sets its field `workspace`."""
        return arguments(self.c_interface, self.named(inputs, outputs))


class Case(Record):
    """A correctness case: a problem, a seed, and the variant of its inputs ("normal" or an adversary)."""

    name: str
    problem: Any
    seed: int = 0
    variant: str = "normal"

    @field_serializer("problem")
    def _problem_to_dict(self, problem: Problem) -> dict[str, Any]:
        return problem.to_dict()


def searched_cases(problem: Problem) -> list[Case]:
    """The cases of the searched shape itself."""
    return [Case(name=f"seed {seed}", problem=problem, seed=seed) for seed in BASE_SEEDS]
