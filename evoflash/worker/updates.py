"""What is updated in place: its values before each launch, and how often in a row it is updated while it is timed.

Launches that are timed follow one another, each on what the last one has left. Values would drift: to infinity, to
subnormal numbers, which a CPU is slow with, or as indices out of their ranges. So the first values are put back before
each sample, outside of its time, and a sample launches no more often on the same tensors than the function itself can
be called on them with sound values. Where that is not often, a sample rotates over more copies of the tensors.
Baselines are timed in the same way. What the timed launches leave is compared with as many calls of the reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evoflash.problems import Inputs, Output, Outputs, Problem, updated
from evoflash.worker.bits import bits

if TYPE_CHECKING:
    import torch

ENOUGH = 64  # launches of a sample on the same tensors
TRIAL_S = 0.2  # within which they are tried; samples of functions that take longer have few launches
MOST_COPIES = 21  # of the tensors, and no more than
MOST_BYTES = 2 << 30
INDICES = ("torch.int64", "torch.int32")  # types of what may be indices
SMALLEST_NORMAL = {8: 2.0**-1022}  # by the bytes of an element; narrower types are computed with in float32:
SMALLEST_NORMAL_FLOAT = 2.0**-126
SUBNORMAL_SHARE = 1e-3  # of the elements: by chance there are fewer


class Updates:
    """The inputs of a call that are updated in place, and their values before each launch.

    Args:
        values: inputs that have these values; without them those of the inputs themselves, of which copies are kept.
    """

    def __init__(self, outputs: Sequence[Output], inputs: Inputs, values: Inputs | None = None):
        self._tensors = updated(outputs, inputs)
        self._values: Outputs = ()
        if values is None:
            self.remember()
        else:
            self._values = updated(outputs, values)

    def restore(self) -> None:
        """Puts the first values back.

        On a CPU by one thread: PyTorch's others would wait for more work, on the cores of those that are timed.
        """
        import numpy as np

        for tensor, value in zip(self._tensors, self._values, strict=True):
            if tensor.device.type == "cpu":
                np.copyto(bits(tensor).numpy(), bits(value).numpy())
            else:
                tensor.copy_(value)

    def remember(self) -> None:
        """Takes what the inputs hold now for their first values."""
        self._values = tuple(each.clone() for each in self._tensors)


class Repetition:
    """How often in a row a function can be called on what it updates.

    Args:
        inputs: of one call, with normal values.
    """

    def __init__(self, problem: Problem, inputs: Inputs):
        self._problem = problem
        self._outputs = problem.outputs()
        self._inputs = inputs  # of the next call
        self._done = 0
        self._is_at_end = False

    def allows(self, calls: int) -> bool:
        """Whether so many calls in a row leave sound values; a single one always may."""
        while self._done < calls and not self._is_at_end:
            self._call()
        return calls <= max(self._done, 1)

    def copies(self) -> int:
        """How many copies of the usual input sets a sample must rotate over, to have enough launches."""
        start, calls = time.monotonic(), 1
        while calls < ENOUGH and time.monotonic() - start < TRIAL_S and self.allows(2 * calls):
            calls *= 2
        if calls >= ENOUGH or not self._is_at_end:
            return 1
        size = sum(each.numel() * each.element_size() for each in updated(self._outputs, self._inputs))
        return max(1, min(ENOUGH // calls, MOST_COPIES, MOST_BYTES // max(size, 1)))

    def launches(self, wanted: int, calls: int) -> int:
        """The launches of a sample that rotates over so many calls: at most those wanted, unless there are fewer.

        Each call is made a power of two times, so that few references are needed.
        """
        if wanted <= calls:
            return wanted
        turns = 1
        while 2 * turns * calls <= wanted and self.allows(2 * turns):
            turns *= 2
        return turns * calls

    def _call(self) -> None:
        before = updated(self._outputs, self._inputs)
        try:
            results = self._problem.plain(self._inputs)
        except Exception:  # whatever a function raises of values that it is not meant for
            self._is_at_end = True
            return
        inputs = continued(self._outputs, self._inputs, results)
        after = updated(self._outputs, inputs)
        pairs = list(zip(before, after, strict=True))
        if not all(_is_sound(*each) for each in pairs):
            self._is_at_end = True
            return
        self._inputs = inputs
        self._done += 1
        # The next call might look up what is not there, which loses a GPU's context.
        self._is_at_end = any(_are_moving_indices(*each) for each in pairs)


def repeated(compute: Callable[[Inputs], Outputs], outputs: Sequence[Output], inputs: Inputs, calls: int) -> Outputs:
    """The results of the last of so many calls, each on what the one before has updated."""
    for _ in range(calls - 1):
        inputs = continued(outputs, inputs, compute(inputs))
    return compute(inputs)


def continued(outputs: Sequence[Output], inputs: Inputs, results: Outputs) -> Inputs:
    """The inputs of the next call: those of the last one, with what it has updated.

    What is in float64 stays so in place of smaller types, but for integers and numbers of 8 bits.
    """
    found = list(inputs)
    for output, result in zip(outputs, results, strict=True):
        if output.updates is not None:
            old = inputs[output.updates]
            is_rounded = old.is_floating_point() and old.element_size() > 1
            found[output.updates] = result if is_rounded else result.to(old.dtype)
    return tuple(found)


def _is_sound(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether nothing has become infinite or NaN, and no more than a few elements subnormal."""
    if not after.is_floating_point():
        return True
    smallest = SMALLEST_NORMAL.get(after.element_size(), SMALLEST_NORMAL_FLOAT)
    old, new = before.double(), after.double()
    if bool((old.isfinite() & ~new.isfinite()).any().item()):
        return False
    subnormal = (new != 0) & (new.abs() < smallest) & ((old == 0) | (old.abs() >= smallest))
    return int(subnormal.sum().item()) <= SUBNORMAL_SHARE * new.numel()


def _are_moving_indices(before: torch.Tensor, after: torch.Tensor) -> bool:
    import torch

    return str(after.dtype) in INDICES and not torch.equal(before, after)
