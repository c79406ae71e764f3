"""Strategies for calls of attention: shapes, layouts in memory, values, masks and whatever is around a call."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch
from hypothesis import strategies as st
from torch import Tensor

HUGE = 2.0**96  # thousands of them have a sum in float32; float16 has its largest number instead
ALIGNMENT = 8  # elements: 16 bytes of a half-precision type
TINY = 2.0**-140  # subnormal in float32 and bfloat16
SPECIALS = ("inf", "-inf", "nan", "largest", "lowest", "smallest", "0", "-0", "60")
KINDS = ("normal", "x10", "x30", "constant rows", "sorted", "positive", "negative", "zeros", "huge", "tiny")
SCALES = (None, None, None, None, 0.0, -0.0, 0.125, 1.0, 2, 30.0, -1.0, -0.125, 1e-30, 1e3, 1e30, math.inf, math.nan)
SCALES += (True, numpy.float32(0.25), "0.5")  # numbers of other types, and none
MODES = (*["as is"] * 4, *["no_grad", "inference_mode"] * 2, "autocast")


def _rounded_up(elements: int) -> int:
    return -(-elements // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Part:
    """One value that stands out: at a place in a tensor, or in the whole row there."""

    place: int
    name: str
    fills_row: bool


@dataclass(frozen=True)
class Operand:
    """A tensor to be made.

    Attributes:
        order: its dimensions, the one with the largest stride first.
        gaps: elements left out after each dimension.
        step: the smallest stride.
        offset: elements before the first.
        expanded: dimensions with a stride of 0.
        overlap: a stride of the rows that makes them overlap; None for none.
        stray: the stride of dimensions of size 1; None for what it would be otherwise.
        is_negated: whether it is a view that is negated when it is read.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str
    seed: int
    parts: tuple[Part, ...]
    order: tuple[int, ...]
    gaps: tuple[int, ...]
    step: int
    offset: int
    expanded: tuple[int, ...]
    overlap: int | None
    stray: int | None
    is_negated: bool

    def strides(self) -> tuple[int, ...]:
        strides, stride = [0] * len(self.shape), self.step
        for dim in reversed(self.order):
            if dim in self.expanded:
                continue
            strides[dim] = stride
            stride = stride * max(1, self.shape[dim]) + self.gaps[dim]
        if self.overlap is not None and len(self.shape) > 1:
            strides[-2] = self.overlap
        if self.stray is not None:
            strides = [self.stray if n == 1 else each for n, each in zip(self.shape, strides, strict=True)]
        return tuple(strides)

    def aligned(self) -> "Operand":
        """The same with rows, heads and batches that begin on multiples of 16 bytes."""
        return replace(
            self,
            gaps=tuple(map(_rounded_up, self.gaps)),
            offset=_rounded_up(self.offset),
            overlap=None if self.overlap is None else _rounded_up(self.overlap),
            stray=None if self.stray is None else _rounded_up(self.stray),
        )

    def make(self, device: str) -> tuple[Tensor, Tensor]:
        """The tensor, and the memory that it lies in, which is NaN elsewhere.

        On a GPU it is aligned: with other strides SDPA's kernels lose the device, even of dimensions of size 1
        (PyTorch 2.11: "misaligned address" for bfloat16 keys of shape (1, 2, 3, 32) with a batch stride of 7).
        """
        if device == "cuda" and self != self.aligned():
            return self.aligned().make(device)
        strides = self.strides()
        places = torch.zeros(self.shape, dtype=torch.int64)
        for dim, (size, stride) in enumerate(zip(self.shape, strides, strict=True)):
            steps = torch.arange(size) * stride
            places += steps.view(-1, *[1] * (len(self.shape) - dim - 1))
        extent = int(places.max()) + 1 if places.numel() else 0
        memory = torch.full((self.offset + extent + 8,), math.nan, dtype=self.dtype)
        memory[self.offset + places.flatten()] = self.values().to(self.dtype).flatten()
        memory = memory.to(device)
        view = memory.as_strided(self.shape, strides, self.offset)
        return (torch._neg_view(view) if self.is_negated else view), memory

    def values(self) -> Tensor:
        found = torch.randn(self.shape, generator=torch.Generator().manual_seed(self.seed)).double()
        if self.kind in ("x10", "x30"):
            found *= float(self.kind[1:])
        elif self.kind == "constant rows" and found.dim() > 1:
            found = found[..., :1, :].expand(self.shape).clone()
        elif self.kind == "sorted" and found.dim() > 1:
            found = found.sort(dim=-2).values
        elif self.kind in ("positive", "negative"):
            found = (found.abs() + 1) * (1 if self.kind == "positive" else -1)
        elif self.kind in ("zeros", "tiny"):
            found *= 0.0 if self.kind == "zeros" else TINY if self.dtype != torch.float16 else 2.0**-20
        elif self.kind == "huge":
            found = found.sign() * min(HUGE, torch.finfo(self.dtype).max)
        limits = torch.finfo(self.dtype)
        numbers = {"largest": limits.max, "lowest": limits.min, "smallest": limits.smallest_normal / 4}
        if found.numel():
            for part in self.parts:
                place = part.place % found.numel()
                value = numbers[part.name] if part.name in numbers else float(part.name)
                if part.fills_row and found.dim() > 1:
                    found.view(-1, found.shape[-1])[place // found.shape[-1]] = value
                else:
                    found.view(-1)[place] = value
        return found


@dataclass(frozen=True)
class Call:
    """A call of attention.

    Attributes:
        mask: None, or a mask to be made; what is "bool" hides what is negative.
        wanted: whether a gradient of q, k and v is wanted.
        mode: what is around the call.
        threads: how many threads PyTorch computes with.
        callers: how many threads call at once.
    """

    q: Operand
    k: Operand
    v: Operand
    mask: Operand | None
    has_bool_mask: bool
    causal: Any
    scale: Any
    grouped: Any
    wanted: tuple[bool, bool, bool]
    mode: str
    threads: int
    callers: int

    def around(self, device: str) -> AbstractContextManager[Any]:
        if self.mode == "autocast":
            return torch.autocast(device, dtype=torch.bfloat16)
        return {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(self.mode, nullcontext)()


@dataclass(frozen=True)
class Kind:
    """What a kernel is made for."""

    dtype: torch.dtype
    head_size: int
    causal: bool


def _rarely(draw: Any, often: Any, seldom: Any, odds: int = 8) -> Any:
    return draw(seldom) if draw(st.integers(0, odds)) == odds else often


@st.composite
def operands(
    draw: Any, shape: tuple[int, ...], dtype: torch.dtype, seed: int, overlaps: tuple[int, ...] = (1, 8)
) -> Operand:
    dims = len(shape)
    usual = tuple(range(dims))
    kind = draw(st.sampled_from(("normal",) * len(KINDS) + KINDS))
    part = st.builds(Part, st.integers(0, 10_000), st.sampled_from(SPECIALS), st.booleans())
    parts = _rarely(draw, (), st.lists(part, min_size=1, max_size=3).map(tuple), odds=4)
    plain = Operand(shape, dtype, kind, seed, parts, usual, (0,) * dims, 1, 0, (), None, None, False)
    if dims < 2 or draw(st.booleans()):
        return plain
    by_position = (*usual[:-3], dims - 2, dims - 3, dims - 1) if dims > 2 else usual
    order = _rarely(draw, draw(st.sampled_from((usual, by_position))), st.permutations(usual).map(tuple))
    gap = st.sampled_from((0, 0, 0, 1, 8, 16))
    return Operand(
        shape,
        dtype,
        kind,
        seed,
        parts,
        order,
        tuple(draw(st.tuples(*[gap] * dims))),
        _rarely(draw, 1, st.sampled_from((2, 3))),
        draw(st.sampled_from((0, 0, 1, 3, 8))),
        _rarely(draw, (), st.lists(st.sampled_from(usual), max_size=2).map(tuple), odds=4),
        _rarely(draw, None, st.sampled_from(overlaps), odds=12),
        _rarely(draw, None, st.sampled_from((0, 1, 7, 10**6 + 3)), odds=3),
        draw(st.integers(0, 20)) == 20,
    )


@st.composite
def shapes(draw: Any, kind: Kind, lengths: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Shapes of q, k and v: mostly what kernels take, else what SDPA may take or refuse."""
    rows, keys = draw(st.sampled_from(lengths)), draw(st.sampled_from(lengths))
    batch, kv_heads = _rarely(draw, draw(st.integers(1, 2)), st.sampled_from((0, 3)), 12), draw(st.integers(1, 3))
    heads = kv_heads * draw(st.sampled_from((1, 1, 2, 4)))
    size = _rarely(draw, kind.head_size, st.sampled_from((0, 1, 3, 8, 64)), 15)
    value_size = _rarely(draw, size, st.sampled_from((1, 8, 24)), 12)
    found = [[batch, heads, rows, size], [batch, kv_heads, keys, size], [batch, kv_heads, keys, value_size]]
    form = _rarely(draw, "4-D", st.sampled_from(("flat", "broadcast", "5-D", "wrong", "unlike")), 6)
    if form == "flat":
        dims = draw(st.integers(1, 3))
        found = [shape[-dims:] for shape in found]
    elif form == "broadcast":
        for shape in found[draw(st.integers(0, 1)) :]:
            shape[draw(st.integers(0, 1))] = 1
    elif form == "5-D":
        found = [[2, *shape] for shape in found]
    elif form == "wrong":
        shape = found[draw(st.integers(0, 2))]
        shape[draw(st.integers(0, 3))] += draw(st.sampled_from((1, 7)))
    elif form == "unlike":
        which = draw(st.integers(0, 2))
        found[which] = found[which][1:]
    return tuple(tuple(shape) for shape in found)


@st.composite
def masks(draw: Any, shape: tuple[int, ...], seed: int) -> Operand:
    """For scores of this shape, perhaps broadcast, perhaps wrong."""
    sizes = [1 if draw(st.booleans()) else size for size in shape[:-2]] + list(shape[-2:])
    if draw(st.integers(0, 15)) == 15:
        sizes[-1] += 1
    dims = draw(st.sampled_from((2, len(sizes))))
    return draw(operands(tuple(sizes[-dims:]), torch.float32, seed))


@st.composite
def calls(draw: Any, kinds: Sequence[Kind], lengths: Sequence[int]) -> Call:
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**20))
    q, k, v = draw(shapes(kind, lengths))
    others = st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64))
    dtype = _rarely(draw, kind.dtype, others, 15)
    dtypes = [_rarely(draw, dtype, others, 60) for _ in range(3)]
    # Where rows of q begin next to each other, SDPA on a CPU lays out its output like that and computes another one
    # (PyTorch 2.13). So only rows of keys and values do.
    made = [
        draw(operands(shape, dtype, seed + index, (8,) if index == 0 else (1, 8)))
        for index, (shape, dtype) in enumerate(zip((q, k, v), dtypes, strict=True))
    ]
    mask = None
    if min(len(q), len(k)) > 1 and draw(st.integers(0, 9)) == 9:
        mask = draw(masks((*q[:-1], k[-2]), seed + 3))
    return Call(
        *made,
        mask=mask,
        has_bool_mask=draw(st.booleans()),
        causal=_rarely(draw, kind.causal and mask is None, st.sampled_from((False, True, 0, 1, None)), 10),
        scale=draw(st.sampled_from(SCALES)),
        grouped=_rarely(draw, len(q) > 2 and len(k) > 2 and q[-3] != k[-3], st.sampled_from((False, True, 1)), 10),
        wanted=_rarely(draw, (False,) * 3, st.tuples(st.booleans(), st.booleans(), st.booleans()), 6),
        mode=draw(st.sampled_from(MODES)),
        threads=draw(st.sampled_from((1, 2, 3))),
        callers=_rarely(draw, 1, st.just(3), 30),
    )
