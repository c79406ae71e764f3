"""Is it right? The check of one case.

The output is poisoned and stands between guard bands; errors are taken against float64 and judged by those of
PyTorch's own answer; inputs must be left alone; three runs must agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evoflash.evaluation import Accuracy
from evoflash.evaluator.kernel import Kernel
from evoflash.problems import Bounds, Case, Inputs

if TYPE_CHECKING:
    import torch

RUNS = 3
GUARD_ELEMENTS = 1 << 15  # before and after the output: more than a tile of rows, and a multiple of any alignment


class WrongError(Exception):
    """The kernel ran and its result cannot be used; the message says where."""

    def __init__(self, message: str, accuracy: Accuracy | None = None):
        super().__init__(message)
        self.accuracy = accuracy


@dataclass(frozen=True)
class Oracle:
    """What a case's right answer is, and what errors are allowed."""

    inputs: Inputs
    reference: torch.Tensor
    bounds: Bounds
    plain_max: float
    plain_rms: float


class Oracles:
    """The oracles of a device's cases, computed once; those asked for longest ago are forgotten."""

    LIMIT = 96

    def __init__(self, device: str):
        self._device = device
        self._known: dict[str, Oracle] = {}

    def of(self, case: Case) -> Oracle:
        """The oracle of a case."""
        key = case.model_dump_json()
        truth = self._known.pop(key, None) or self._compute(case)
        self._known[key] = truth
        if len(self._known) > self.LIMIT:
            del self._known[next(iter(self._known))]
        return truth

    def _compute(self, case: Case) -> Oracle:
        inputs = case.problem.inputs(case.seed, case.variant, self._device)
        reference = case.problem.reference(inputs)
        plain_max, plain_rms, _, _ = _errors(case.problem.plain(inputs), reference)
        return Oracle(inputs, reference, case.problem.bounds(reference, plain_max, plain_rms), plain_max, plain_rms)


class Output:
    """A poisoned output tensor between guard bands."""

    def __init__(self, shape: tuple[int, ...], like: torch.Tensor):
        import torch

        count = 1
        for size in shape:
            count *= size
        self._buffer = torch.empty(count + 2 * GUARD_ELEMENTS, dtype=like.dtype, device=like.device)
        self.tensor = self._buffer[GUARD_ELEMENTS : GUARD_ELEMENTS + count].view(shape)
        self._after = GUARD_ELEMENTS + count
        self.poison()

    def poison(self) -> None:
        """NaN everywhere, guards included."""
        self._buffer.fill_(float("nan"))

    def written_outside(self) -> bool:
        """Whether a guard band is no longer what `poison` left."""
        before, after = self._buffer[:GUARD_ELEMENTS], self._buffer[self._after :]
        return not bool((before.isnan().all() & after.isnan().all()).item())


def check(kernel: Kernel, case: Case, truth: Oracle, synchronize: Callable[[], None]) -> Accuracy:
    """The errors of a kernel on a case.

    Raises:
        WrongError: for a result that is out of bounds, not finite, differs from run to run, or came with stray writes.
        LaunchError: when the launcher answers an error code.
    """

    inputs = tuple(fresh(tensor) for tensor in truth.inputs)
    output = Output(case.problem.output_shape(), inputs[0])
    launch = kernel.bind(case.problem, inputs, output.tensor)
    first: torch.Tensor | None = None
    for run in range(RUNS):
        output.poison()
        launch()
        synchronize()
        if output.written_outside():
            raise WrongError(f"{case.name}: it wrote outside its output")
        require_untouched(truth.inputs, inputs, case.name)
        if first is None:
            first = output.tensor.clone()
        elif not _same_bits(first, output.tensor):
            raise WrongError(
                f"{case.name}: run {run + 1} differs from run 1 at {_first_difference(first, output.tensor)}"
            )
    assert first is not None
    return judge(first, truth, case.name)


def require_untouched(before: Inputs, after: Inputs, name: str) -> None:
    """Raises WrongError when a kernel has written into its inputs."""
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if not _same_bits(old, new):
            raise WrongError(f"{name}: it wrote into its input {number} at {_first_difference(old, new)}")


def judge(out: torch.Tensor, truth: Oracle, name: str) -> Accuracy:
    """The errors of an output.

    Raises:
        WrongError: when they are out of bounds.
    """
    import torch

    stray = out.isnan() != truth.reference.isnan()
    if bool(stray.any().item()):
        index = _index(stray.flatten().to(torch.int8).argmax().item(), tuple(out.shape))
        what = "it left NaN or nothing" if bool(out[index].isnan().item()) else "the NaN of an input was lost"
        raise WrongError(f"{name}: {what} at {index} ({int(stray.sum().item())} places)")
    max_error, rms_error, mean_error, worst = _errors(out, truth.reference)
    bounds = truth.bounds
    accuracy = Accuracy(
        case=name,
        max_error=max_error,
        rms_error=rms_error,
        mean_error=mean_error,
        sdpa_max_error=truth.plain_max,
        sdpa_rms_error=truth.plain_rms,
        max_bound=bounds.max_error,
        rms_bound=bounds.rms_error,
        worst_index=_index(worst, tuple(out.shape)),
    )
    for word, error, bound in (
        ("max", max_error, bounds.max_error),
        ("rms", rms_error, bounds.rms_error),
        ("mean", mean_error, bounds.mean_error),
    ):
        if not error <= bound:
            raise WrongError(
                f"{name}: {word} error {error:.3g} > {bound:.3g}, worst at {accuracy.worst_index}", accuracy
            )
    return accuracy


def _errors(out: torch.Tensor, reference: torch.Tensor) -> tuple[float, float, float, int]:
    """max, rms and mean of |out - reference|, and the flat index of the largest; where the reference is NaN, 0."""
    import torch

    error = (out.double() - reference).abs()
    error = torch.where(reference.isnan(), 0.0, error)
    largest, place = error.flatten().max(dim=0)
    figures = torch.stack([largest, error.square().mean().sqrt(), error.mean()]).tolist()
    return figures[0], figures[1], figures[2], int(place.item())


def fresh(tensor: torch.Tensor) -> torch.Tensor:
    """A copy at a new address with the same strides."""
    import torch

    copy = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return copy.copy_(tensor)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


def _same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    import torch

    return torch.equal(_bits(left), _bits(right))


def _first_difference(left: torch.Tensor, right: torch.Tensor) -> tuple[int, ...]:
    import torch

    different = (_bits(left) != _bits(right)).flatten().to(torch.int8)
    return _index(int(different.argmax().item()), tuple(left.shape))


def _index(flat: int | float, shape: tuple[int, ...]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        flat, place = divmod(int(flat), size)
        index.append(place)
    return tuple(reversed(index))
