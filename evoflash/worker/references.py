"""References: the expected outputs of each case and the allowed errors, computed once per case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evoflash.core.evaluation import Accuracy
from evoflash.core.status import Gate
from evoflash.problems import BASE_SEEDS, Bounds, Case, Inputs, Output, Outputs, Problem
from evoflash.worker.shortage import own_memory
from evoflash.worker.updates import repeated

if TYPE_CHECKING:
    import torch


class WrongResultError(Exception):
    """A kernel ran, but its result is wrong. The message says where; `gate` is the check that found it."""

    def __init__(self, message: str, gate: Gate, accuracy: Accuracy | None = None):
        super().__init__(message)
        self.gate = gate
        self.accuracy = accuracy


@dataclass(frozen=True)
class Expected:
    """What is expected of an output of a case, and the allowed errors.

    Attributes:
        output: which one it is.
        values: the output in float64.
        unspecified: mask of the elements where a NaN is accepted as well; None for none.
        disputed: mask of the elements where anything is accepted, since of the float64 reference and PyTorch's own
            implementation one is infinite or NaN and the other is not; None for none.
        bounds: the allowed errors.
        plain_max, plain_rms: the errors of PyTorch's own implementation, here or where nothing is hidden.
    """

    output: Output
    values: torch.Tensor
    unspecified: torch.Tensor | None
    disputed: torch.Tensor | None
    bounds: Bounds
    plain_max: float
    plain_rms: float

    def check(self, out: torch.Tensor, case: str, output: str = "") -> Accuracy:
        """Checks an output and returns its errors.

        Args:
            output: the name of the output where the case has several.

        Raises:
            WrongResultError: when the errors are beyond the bounds.
        """
        import torch

        name = f"{case}: {output}" if output else case
        out = _comparable(out)
        if self.disputed is not None:
            out = torch.where(self.disputed, self.values, out.double())
        is_nan, want_nan = out.isnan(), self.values.isnan()
        stray = is_nan != want_nan
        if self.unspecified is not None:
            stray &= ~self.unspecified | want_nan
        if bool(stray.any().item()):
            index = unravel_index(stray.flatten().to(torch.int8).argmax().item(), tuple(out.shape))
            what = "unexpected NaN" if bool(out[index].isnan().item()) else "an input's NaN was not propagated"
            raise WrongResultError(f"{name}: {what} at {index} ({int(stray.sum().item())} elements)", Gate.NAN)
        max_error, rms_error, mean_error, worst = errors(out, self.values)
        bounds = self.bounds
        accuracy = Accuracy(
            case=case,
            output=output,
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


@dataclass(frozen=True)
class Reference:
    """The inputs of a case, and what is expected of its outputs.

    Attributes:
        other: the same for other values of the same shapes; None where `Problem.mirror` makes these.
    """

    inputs: Inputs
    outputs: tuple[Expected, ...]
    other: Reference | None = None

    def check(self, outputs: Outputs, case: str) -> Accuracy:
        """Checks the outputs and returns the errors of the one that is nearest to its bounds.

        Raises:
            WrongResultError: for the first of which the errors are beyond the bounds.
        """
        names = [each.output.name for each in self.outputs] if len(self.outputs) > 1 else [""]
        triples = zip(self.outputs, outputs, names, strict=True)
        return max((each.check(out, case, name) for each, out, name in triples), key=lambda found: found.share)


class References:
    """References of cases on one device, in an LRU cache."""

    LIMIT = 96

    def __init__(self, device: str):
        self._device = device
        self._known: dict[str, Reference] = {}

    def of(self, case: Case, calls: int = 1) -> Reference:
        """The reference of a case.

        Args:
            calls: how often in a row the function is called, each time on what it has updated in place.

        Raises:
            ShortageError: when there is no memory for it.
        """
        with own_memory(f"the reference of {case.name}, {case.problem.label}"):
            reference = self._of(case, calls)
            if _mirrors(case.problem):
                return reference
            return replace(reference, other=self._of(_other(case), calls))

    def _of(self, case: Case, calls: int) -> Reference:
        key = f"{calls} {case.model_dump_json()}"
        reference = self._known.pop(key, None) or self._compute(case, calls)
        self._known[key] = reference
        if len(self._known) > self.LIMIT:
            del self._known[next(iter(self._known))]
        return reference

    def _compute(self, case: Case, calls: int) -> Reference:
        problem = case.problem
        inputs = problem.inputs(case.seed, case.variant, self._device)
        found = [_yardstick(problem, inputs, calls)]
        if (whole := problem.unmasked(inputs)) is not None:
            unmasked, same = whole
            found.append(_yardstick(unmasked, same, calls))
        outputs = []
        for output, own, *others in zip(problem.outputs(), *found, strict=True):
            plain_max = max(each.largest for each in (own, *others))
            plain_rms = max(each.rms for each in (own, *others))
            bounds = problem.bounds(output, own.values, plain_max, plain_rms)
            outputs.append(Expected(output, own.values, own.unspecified, own.disputed, bounds, plain_max, plain_rms))
        return Reference(inputs, tuple(outputs))


def _mirrors(problem: Problem) -> bool:
    """Whether its class has a `mirror` of its own."""
    return type(problem).mirror is not Problem.mirror


def _other(case: Case) -> Case:
    """The same case with other values: of the searched seeds the next one, whose reference is wanted anyway."""
    seeds: dict[int, int] = dict(zip(BASE_SEEDS, (*BASE_SEEDS[1:], BASE_SEEDS[0]), strict=True))
    seed = seeds.get(case.seed, case.seed + 1)
    name = f"seed {seed}" if case.name == f"seed {case.seed}" else case.name
    return case.model_copy(update={"name": name, "seed": seed})


@dataclass(frozen=True)
class _Yardstick:
    """An output in float64, where PyTorch's own disagrees on NaN and infinity, and its largest and rms error elsewhere.

    The names are those of `Expected`.
    """

    values: torch.Tensor
    unspecified: torch.Tensor | None
    disputed: torch.Tensor | None
    largest: float
    rms: float

    @classmethod
    def of(
        cls, plain: torch.Tensor, values: torch.Tensor, unspecified: torch.Tensor | None, may_dispute: bool
    ) -> _Yardstick:
        """`may_dispute`: whether infinite inputs, or overflow that the problem excuses, may tell the two apart."""
        import torch

        disputed = _disputed(plain, values, unspecified) if may_dispute else None
        settled = plain if disputed is None else torch.where(disputed, values, plain.double())
        largest, rms, _, _ = errors(settled, values)
        return cls(values, unspecified, disputed, largest, rms)


def _yardstick(problem: Problem, inputs: Inputs, calls: int) -> Sequence[_Yardstick]:
    """Of each output, after so many calls in a row."""
    values, plain = (
        repeated(compute, problem.outputs(), inputs, calls) for compute in (problem.reference, problem.plain)
    )
    unspecified = problem.unspecified(inputs)
    may_dispute = _is_infinite(inputs) or (problem.is_overflow_excused and not _are_finite(plain))
    return [_Yardstick.of(*each, may_dispute) for each in zip(plain, values, unspecified, strict=True)]


def _is_infinite(inputs: Inputs) -> bool:
    wide = (tensor for tensor in inputs if tensor.element_size() > 1)  # PyTorch has no isinf for float8
    return any(bool(tensor.isinf().any().item()) for tensor in wide)


def _are_finite(outputs: Outputs) -> bool:
    return all(bool(each.double().isfinite().all().item()) for each in outputs)


def _disputed(plain: torch.Tensor, expected: torch.Tensor, unspecified: torch.Tensor | None) -> torch.Tensor:
    """Where one of two outputs is NaN, inf or -inf and the other is not the same.

    A NaN of PyTorch's where one is accepted anyway decides nothing. A number there does: a kernel may leave out, too,
    what is multiplied by zero, as the padding of a convolution.
    """
    plain = _comparable(plain)
    same = (plain == expected) | (plain.isfinite() & expected.isfinite()) | (plain.isnan() & expected.isnan())
    return ~same if unspecified is None else ~same & ~(unspecified & plain.isnan())


def _comparable(tensor: torch.Tensor) -> torch.Tensor:
    """The same, but for float8, of which PyTorch has few operations, as float32."""
    return tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor


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
