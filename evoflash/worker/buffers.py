"""Where a kernel's tensors lie when it is checked: each between guard bands, everything around it poisoned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evoflash.problems import Inputs

if TYPE_CHECKING:
    import torch

GUARD_ELEMENTS = 1 << 15  # before and after: more than a tile of rows, and a multiple of any alignment

# Signalling NaN, which any arithmetic makes quiet: so what nobody wrote is told from a NaN that was computed.
POISON = {"float16": 0x7DE7, "bfloat16": 0x7FA7, "float32": 0x7FA5_A5A5, "float64": 0x7FF4_5A5A_5A5A_5A5A, "uint8": -1}


class Guarded:
    """A poisoned tensor between guard bands; with gaps between its rows where its strides leave some."""

    def __init__(self, shape: Sequence[int], stride: Sequence[int], like: torch.Tensor):
        import torch

        span = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
        count = 1
        for size in shape:
            count *= size
        self._buffer = torch.empty(span + 2 * GUARD_ELEMENTS, dtype=like.dtype, device=like.device)
        self._bits = bits(self._buffer)
        self._poison = POISON[str(like.dtype).removeprefix("torch.")]
        self._place = (tuple(shape), tuple(stride), GUARD_ELEMENTS)
        self._bands = (slice(GUARD_ELEMENTS), slice(GUARD_ELEMENTS + span, None))
        self._dense = span == count
        self.tensor = torch.as_strided(self._buffer, *self._place)
        self.poison()

    @classmethod
    def copy(cls, tensor: torch.Tensor) -> Guarded:
        """A tensor at a new address with the same strides."""
        made = cls(tensor.shape, tensor.stride(), tensor)
        made.tensor.copy_(tensor)
        return made

    def poison(self) -> None:
        """NaN everywhere, guards included."""
        self._bits.fill_(self._poison)

    def calm(self) -> None:
        """Zeros instead of NaN around the tensor."""
        inside = self.tensor.clone()
        self._bits.zero_()
        self.tensor.copy_(inside)

    def untouched(self) -> torch.Tensor:
        """Whether everything around the tensor is what `poison` left: a boolean on its device."""
        import torch

        if self._dense:
            before, after = (self._bits[band] == self._poison for band in self._bands)
            return before.all() & after.all()
        kept = self._bits == self._poison
        torch.as_strided(kept, *self._place).fill_(True)
        return kept.all()

    def unwritten(self) -> torch.Tensor:
        """Which elements of the tensor still hold the poison."""
        import torch

        return torch.as_strided(self._bits, *self._place) == self._poison


class Arena:
    """The buffers of one call: inputs at fresh addresses, the output laid out like the first of them, a workspace.

    Args:
        copy: False takes the inputs where they are, without guards.

    Attributes:
        inputs: copies with the same strides.
        output: what the kernel is to write.
    """

    def __init__(self, inputs: Inputs, output_shape: tuple[int, ...], copy: bool = True):
        import torch

        self._guarded = [Guarded.copy(tensor) for tensor in inputs] if copy else []
        self.inputs: Inputs = tuple(each.tensor for each in self._guarded) if copy else inputs
        first = inputs[0]
        dense = torch.empty(output_shape, device="meta").stride()
        stride = first.stride() if tuple(first.shape) == output_shape else dense
        self.output = Guarded(output_shape, stride, first)
        self._workspace: Guarded | None = None

    def workspace(self, size: int) -> torch.Tensor:
        """Bytes for the kernel's own use; what they hold is poison, and so is what lies around."""
        import torch

        self._workspace = Guarded((size,), (1,), torch.empty(0, dtype=torch.uint8, device=self.inputs[0].device))
        return self._workspace.tensor

    def poison(self) -> None:
        """Makes ready for a launch: nothing that an earlier one left is there."""
        self.output.poison()
        if self._workspace is not None:
            self._workspace.poison()

    def calm(self) -> None:
        """Zeros around the inputs: what comes out otherwise now was read from there."""
        for each in self._guarded:
            each.calm()

    def trespass(self) -> str | None:
        """What was written outside of the output and workspace: "output", "workspace", "inputs", or None."""
        import torch

        named = {"output": [self.output], "workspace": [self._workspace] if self._workspace else []}
        named["inputs"] = self._guarded
        kept = {name: [each.untouched() for each in group] for name, group in named.items()}
        flags = torch.stack([flag for group in kept.values() for flag in group]).tolist()
        for name, group in kept.items():
            if not all(flags[: len(group)]):
                return name
            flags = flags[len(group) :]
        return None


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as integers."""
    import torch

    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])
