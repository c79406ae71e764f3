"""References: the expected output of each case and the allowed errors, computed once per case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import Bounds, Case, Inputs, Problem
from evoflash.worker.shortage import own_memory

if TYPE_CHECKING:
    import torch


class WrongResultError(Exception):
    """A kernel ran, but its result is wrong. The message says where; `gate` is the check that found it."""

    def __init__(self, message: str, gate: Gate, accuracy: Accuracy | None = None):
        super().__init__(message)
        self.gate = gate
        self.accuracy = accuracy


@dataclass(frozen=True)
class Reference:
    """The expected output of a case, and the allowed errors.

    Attributes:
        inputs: the inputs of the case.
        expected: the output in float64.
        unspecified: mask of the elements where a NaN is accepted as well; None for none.
        disputed: mask of the elements where anything is accepted, since of the float64 reference and PyTorch's own
            implementation one is infinite or NaN and the other is not; None for none.
        bounds: the allowed errors.
        plain_max, plain_rms: the errors of PyTorch's own implementation, here or where nothing is hidden.
    """

    inputs: Inputs
    expected: torch.Tensor
    unspecified: torch.Tensor | None
    disputed: torch.Tensor | None
    bounds: Bounds
    plain_max: float
    plain_rms: float

    def check(self, out: torch.Tensor, name: str) -> Accuracy:
        """Checks an output and returns its errors.

        Raises:
            WrongResultError: when the errors are beyond the bounds.
        """
        import torch

        if self.disputed is not None:
            out = torch.where(self.disputed, self.expected, out.double())
        is_nan, want_nan = out.isnan(), self.expected.isnan()
        stray = is_nan != want_nan
        if self.unspecified is not None:
            stray &= ~self.unspecified | want_nan
        if bool(stray.any().item()):
            index = unravel_index(stray.flatten().to(torch.int8).argmax().item(), tuple(out.shape))
            what = "unexpected NaN" if bool(out[index].isnan().item()) else "an input's NaN was not propagated"
            raise WrongResultError(f"{name}: {what} at {index} ({int(stray.sum().item())} elements)", Gate.NAN)
        max_error, rms_error, mean_error, worst = errors(out, self.expected)
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
            worst_index=unravel_index(worst, tuple(out.shape)),
        )
        for word, error, bound in (
            ("max", max_error, bounds.max_error),
            ("rms", rms_error, bounds.rms_error),
            ("mean", mean_error, bounds.mean_error),
        ):
            if not error <= bound:
                where = f"worst at {accuracy.worst_index}"
                raise WrongResultError(f"{name}: {word} error {error:.3g} > {bound:.3g}, {where}", Gate.ERROR, accuracy)
        return accuracy


class References:
    """References of cases on one device, in an LRU cache."""

    LIMIT = 96

    def __init__(self, device: str):
        self._device = device
        self._known: dict[str, Reference] = {}

    def of(self, case: Case) -> Reference:
        """The reference of a case.

        Raises:
            ShortageError: when there is no memory for it.
        """
        key = case.model_dump_json()
        with own_memory(f"the reference of {case.name}, {case.problem.label}"):
            reference = self._known.pop(key, None) or self._compute(case)
        self._known[key] = reference
        if len(self._known) > self.LIMIT:
            del self._known[next(iter(self._known))]
        return reference

    def _compute(self, case: Case) -> Reference:
        problem = case.problem
        inputs = problem.inputs(case.seed, case.variant, self._device)
        expected, unspecified = problem.reference(inputs), problem.unspecified(inputs)
        disputed, plain_max, plain_rms = _errors_of_plain(problem, inputs, expected, unspecified)
        if (whole := problem.unmasked(inputs)) is not None:
            unmasked, kept = whole
            its = unmasked.reference(kept), unmasked.unspecified(kept)
            _, also_max, also_rms = _errors_of_plain(unmasked, kept, *its)
            plain_max, plain_rms = max(plain_max, also_max), max(plain_rms, also_rms)
        bounds = problem.bounds(expected, plain_max, plain_rms)
        return Reference(inputs, expected, unspecified, disputed, bounds, plain_max, plain_rms)


def _errors_of_plain(
    problem: Problem, inputs: Inputs, expected: torch.Tensor, unspecified: torch.Tensor | None
) -> tuple[torch.Tensor | None, float, float]:
    """Where PyTorch's own implementation disagrees on NaN and infinity, and its max and rms error elsewhere."""
    import torch

    plain = problem.plain(inputs)
    disputed = _disputed(plain, expected, unspecified) if _is_infinite(inputs) else None
    settled = plain if disputed is None else torch.where(disputed, expected, plain.double())
    largest, rms, _, _ = errors(settled, expected)
    return disputed, largest, rms


def _is_infinite(inputs: Inputs) -> bool:
    wide = (tensor for tensor in inputs if tensor.element_size() > 1)  # PyTorch has no isinf for float8
    return any(bool(tensor.isinf().any().item()) for tensor in wide)


def _disputed(plain: torch.Tensor, expected: torch.Tensor, unspecified: torch.Tensor | None) -> torch.Tensor:
    """Where one of two outputs is NaN, inf or -inf and the other is not the same."""
    same = (plain == expected) | (plain.isfinite() & expected.isfinite()) | (plain.isnan() & expected.isnan())
    return ~same if unspecified is None else ~same & ~unspecified


def errors(out: torch.Tensor, expected: torch.Tensor) -> tuple[float, float, float, int]:
    """max, rms and mean of |out - expected|, and the flat index of the maximum; a NaN in either counts as 0."""
    import torch

    error = (out.double() - expected).abs()
    error = torch.where(error.isnan(), 0.0, error)
    largest, where = error.flatten().max(dim=0)
    figures = torch.stack([largest, error.square().mean().sqrt(), error.mean()]).tolist()
    return figures[0], figures[1], figures[2], int(where.item())


def unravel_index(flat: int | float, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Converts a flat index into one index per dimension."""
    index = []
    for size in reversed(shape):
        flat, at = divmod(int(flat), size)
        index.append(at)
    return tuple(reversed(index))
