"""The right answers: references and the errors that they allow, computed once a case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Bounds, Case, Inputs

if TYPE_CHECKING:
    import torch


class WrongError(Exception):
    """The kernel ran and its result cannot be used; the message says where, the gate says which check found it."""

    def __init__(self, message: str, gate: Gate, accuracy: Accuracy | None = None):
        super().__init__(message)
        self.gate = gate
        self.accuracy = accuracy


@dataclass(frozen=True)
class Reference:
    """What a case's right answer is, and what errors are allowed.

    Attributes:
        unspecified: where a NaN is as right as the reference; None for nowhere.
        plain_max, plain_rms: errors of PyTorch's own answer.
    """

    inputs: Inputs
    reference: torch.Tensor
    unspecified: torch.Tensor | None
    bounds: Bounds
    plain_max: float
    plain_rms: float

    def judge(self, out: torch.Tensor, name: str) -> Accuracy:
        """The errors of an output.

        Raises:
            WrongError: when they are out of bounds.
        """
        import torch

        reference = self.reference
        stray = out.isnan() != reference.isnan()
        if self.unspecified is not None:
            stray &= ~self.unspecified
        if bool(stray.any().item()):
            index = place(stray.flatten().to(torch.int8).argmax().item(), tuple(out.shape))
            what = "it left NaN or nothing" if bool(out[index].isnan().item()) else "the NaN of an input was lost"
            raise WrongError(f"{name}: {what} at {index} ({int(stray.sum().item())} places)", Gate.NAN)
        max_error, rms_error, mean_error, worst = errors(out, reference)
        bounds = self.bounds
        accuracy = Accuracy(
            case=name,
            max_error=max_error,
            rms_error=rms_error,
            mean_error=mean_error,
            sdpa_max_error=self.plain_max,
            sdpa_rms_error=self.plain_rms,
            max_bound=bounds.max_error,
            rms_bound=bounds.rms_error,
            worst_index=place(worst, tuple(out.shape)),
        )
        for word, error, bound in (
            ("max", max_error, bounds.max_error),
            ("rms", rms_error, bounds.rms_error),
            ("mean", mean_error, bounds.mean_error),
        ):
            if not error <= bound:
                where = f"worst at {accuracy.worst_index}"
                raise WrongError(f"{name}: {word} error {error:.3g} > {bound:.3g}, {where}", Gate.ERROR, accuracy)
        return accuracy


class References:
    """The references of a device's cases, computed once; those asked for longest ago are forgotten."""

    LIMIT = 96

    def __init__(self, device: str):
        self._device = device
        self._known: dict[str, Reference] = {}

    def of(self, case: Case) -> Reference:
        """The reference of a case."""
        key = case.model_dump_json()
        truth = self._known.pop(key, None) or self._compute(case)
        self._known[key] = truth
        if len(self._known) > self.LIMIT:
            del self._known[next(iter(self._known))]
        return truth

    def _compute(self, case: Case) -> Reference:
        problem = case.problem
        inputs = problem.inputs(case.seed, case.variant, self._device)
        reference = problem.reference(inputs)
        plain_max, plain_rms, _, _ = errors(problem.plain(inputs), reference)
        bounds = problem.bounds(reference, plain_max, plain_rms)
        return Reference(inputs, reference, problem.unspecified(inputs), bounds, plain_max, plain_rms)


def errors(out: torch.Tensor, reference: torch.Tensor) -> tuple[float, float, float, int]:
    """max, rms and mean of |out - reference|, and the flat index of the largest; where either is NaN, 0."""
    import torch

    error = (out.double() - reference).abs()
    error = torch.where(error.isnan(), 0.0, error)
    largest, where = error.flatten().max(dim=0)
    figures = torch.stack([largest, error.square().mean().sqrt(), error.mean()]).tolist()
    return figures[0], figures[1], figures[2], int(where.item())


def place(flat: int | float, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A flat index as one for each dimension."""
    index = []
    for size in reversed(shape):
        flat, at = divmod(int(flat), size)
        index.append(at)
    return tuple(reversed(index))
