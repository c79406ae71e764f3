"""Buffers of a correctness check: each tensor lies between guard bands, and its surroundings are poisoned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from evoflash.problems import Inputs, Output, Outputs, updated
from evoflash.worker.bits import bits
from evoflash.worker.shortage import own_memory
from evoflash.worker.updates import Updates

if TYPE_CHECKING:
    import torch

VECTOR_BYTES = 16  # of the widest load whose alignment kernels ask for
GUARD_ELEMENTS = 1 << 15  # on each side: more than a tile of rows, and a multiple of any alignment

# Signalling NaNs. Arithmetic only produces quiet NaNs, so an unwritten element differs from a computed NaN. Eight bits
# have two, of which instructions that convert to them produce the positive one. A mask is surrounded by keys that are
# seen, and lengths and page numbers by some that do not exist.
POISON = {
    "float16": 0x7DE7,
    "bfloat16": 0x7FA7,
    "float32": 0x7FA5_A5A5,
    "float64": 0x7FF4_5A5A_5A5A_5A5A,
    "float8_e4m3fn": -1,
    "float8_e5m2": -3,
    "uint8": -1,
    "int8": -128,
    "bool": 1,
    "int16": -0x5A5B,
    "int32": 2**31 - 1,
    "int64": -0x5A5A_5A5A_5A5A_5A5B,
}

# Of types whose every value may be a result: another poison. What holds one after a launch and the other after the next
# was not written.
OTHER_POISON = {"float8_e4m3fn": 0x7F, "float8_e5m2": 0x7D, "uint8": 0x5A, "int8": 0x5A, "bool": 0, "int16": 0x5A5A}


class GuardedTensor:
    """A poisoned tensor between guard bands. Gaps between its rows, where the strides leave any, are guarded too.

    Args:
        shift: elements by which it begins after an aligned address.
    """

    def __init__(
        self,
        shape: Sequence[int],
        stride: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        shift: int = 0,
    ):
        import torch

        span = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
        count = 1
        for size in shape:
            count *= size
        self._buffer = torch.empty(span + 2 * GUARD_ELEMENTS, dtype=dtype, device=device)
        self._bits = bits(self._buffer)
        name = str(dtype).removeprefix("torch.")
        self._poisons = (POISON[name], OTHER_POISON.get(name, POISON[name]))
        self._poison = self._poisons[0]
        start = GUARD_ELEMENTS + shift
        self._place = (tuple(shape), tuple(stride), start)
        self._bands = (slice(start), slice(start + span, None))
        self._dense = span == count
        self.tensor = torch.as_strided(self._buffer, *self._place)
        self.poison()

    @classmethod
    def copy(cls, tensor: torch.Tensor) -> GuardedTensor:
        """A guarded copy with the same strides, that begins as far from a vector's alignment."""
        shift = tensor.data_ptr() % VECTOR_BYTES // tensor.element_size()
        made = cls(tensor.shape, tensor.stride(), tensor.dtype, tensor.device, shift)
        made.tensor.copy_(tensor)
        return made

    @property
    def may_hold_poison(self) -> bool:
        """Whether a kernel may write what is the poison, too."""
        return self._poisons[0] != self._poisons[1]

    def poison(self, other: bool = False) -> None:
        """Fills the tensor and its guards with the poison, or with the other one of its type."""
        self._poison = self._poisons[other]
        self._bits.fill_(self._poison)

    def zero_surroundings(self) -> None:
        """Replaces the poison around the tensor by zeros."""
        inside = self.tensor.clone()
        self._bits.zero_()
        self.tensor.copy_(inside)

    def guards_intact(self) -> torch.Tensor:
        """Whether everything around the tensor still holds the poison: a boolean tensor on its device."""
        import torch

        if self._dense:
            before, after = (self._bits[band] == self._poison for band in self._bands)
            return before.all() & after.all()
        kept = self._bits == self._poison
        torch.as_strided(kept, *self._place).fill_(True)
        return kept.all()

    def unwritten(self) -> torch.Tensor:
        """Mask of the elements that still hold the poison."""
        import torch

        return torch.as_strided(self._bits, *self._place) == self._poison


class Arena:
    """The buffers of one call: copies of the inputs, the outputs, and a workspace.

    An output of the shape of the first input has the strides of that, too; others are contiguous.

    An output of another shape has its dimensions in memory in the order of those of the first input. One that is an
    input updated in place is that input, with its first values before each launch.

    Args:
        outputs: the problem's.
        copy: False uses the inputs in place, without guards.
        values: of inputs that are used in place, inputs with the first values; without it they have them now.

    Attributes:
        inputs: guarded copies with the same strides, or the inputs themselves.
        outputs: the tensors that the kernel writes.
        names: what messages call them: by name where there are several, or one is updated in place.
        updates: the inputs that are updated in place.

    Raises:
        ShortageError: when there is no memory for inputs and outputs.
    """

    def __init__(self, inputs: Inputs, outputs: Sequence[Output], copy: bool = True, values: Inputs | None = None):
        own = [each for each in outputs if each.updates is None]
        with own_memory("the tensors of a call"):
            self._guarded = [GuardedTensor.copy(tensor) for tensor in inputs] if copy else []
            self._written = [_guarded_output(each, inputs[0]) for each in own]
        self.inputs: Inputs = tuple(each.tensor for each in self._guarded) if copy else inputs
        self.outputs: Outputs = (*(each.tensor for each in self._written), *updated(outputs, self.inputs))
        self.names = tuple(each.name for each in outputs) if len(outputs) > 1 or not own else ("output",)
        self.updates = Updates(outputs, self.inputs, inputs if copy else values)
        self._in_place = frozenset(each.updates for each in outputs)
        self._workspace: GuardedTensor | None = None

    def is_updated(self, number: int) -> bool:
        """Whether an input is updated in place."""
        return number in self._in_place

    def workspace(self, size: int) -> torch.Tensor:
        """Allocates a guarded, poisoned workspace of `size` bytes."""
        import torch

        self._workspace = GuardedTensor((size,), (1,), torch.uint8, self.inputs[0].device)
        return self._workspace.tensor

    def poison(self, other: bool = False) -> None:
        """Poisons outputs and workspace and restores inputs, so that nothing of an earlier launch is left."""
        self.updates.restore()
        for each in self._written:
            each.poison(other)
        if self._workspace is not None:
            self._workspace.poison()

    @property
    def may_hold_poison(self) -> bool:
        """Whether a kernel may write into an output what is its poison, too."""
        return any(each.may_hold_poison for each in self._written)

    def unwritten(self, again: Callable[[], object]) -> dict[str, torch.Tensor]:
        """Mask of the elements of each output of its own that a launch left as they were, by its name in messages.

        Args:
            again: launches once more. Of outputs whose every value may be a result, this is done after another poison,
                so the outputs may be those of this launch afterwards.
        """
        found = {name: each.unwritten() for name, each in self._named()}
        if not self.may_hold_poison or not any(bool(mask.any().item()) for mask in found.values()):
            return found
        self.poison(other=True)
        again()
        return {name: found[name] & each.unwritten() for name, each in self._named()}

    def _named(self) -> list[tuple[str, GuardedTensor]]:
        """The outputs of their own, which come first, by their names in messages."""
        return list(zip(self.names, self._written, strict=False))

    def zero_surroundings(self) -> None:
        """Puts zeros around the inputs. An output that changes by this depends on out-of-bounds reads."""
        for each in self._guarded:
            each.zero_surroundings()

    def stray_write(self) -> str | None:
        """The buffer whose guards were overwritten: the name of an output, "workspace", "inputs", or None."""
        import torch

        named = {name: [each] for name, each in self._named()}
        named["workspace"] = [self._workspace] if self._workspace else []
        named["inputs"] = self._guarded
        kept = {name: [each.guards_intact() for each in group] for name, group in named.items()}
        every = [flag for group in kept.values() for flag in group]
        flags = torch.stack(every).tolist() if every else []  # nothing is guarded where all is updated in place
        for name, group in kept.items():
            if not all(flags[: len(group)]):
                return name
            flags = flags[len(group) :]
        return None


def output_stride(output: Output, like: torch.Tensor) -> tuple[int, ...]:
    """The strides of an output: of an input's shape, its own; else dense, and in the order in which its dimensions lie
    in memory.
    """
    shape = output.shape
    if tuple(like.shape) == shape:
        return like.stride()
    order = range(len(shape))
    if len(shape) == like.dim():
        order = sorted(order, key=lambda axis: (-like.stride(axis), axis))
    stride, step = [0] * len(shape), 1
    for axis in reversed(order):
        stride[axis] = step
        step *= max(shape[axis], 1)
    return tuple(stride)


def _guarded_output(output: Output, like: torch.Tensor) -> GuardedTensor:
    import torch

    stride = output_stride(output, like)
    return GuardedTensor(output.shape, stride, getattr(torch, output.dtype), like.device)


def poison(tensor: torch.Tensor) -> None:
    """Fills a tensor of any strides with the poison of its type."""
    bits(tensor).fill_(POISON[str(tensor.dtype).removeprefix("torch.")])
