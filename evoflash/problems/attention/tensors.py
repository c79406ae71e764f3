"""The tensors of an attention problem: their names, shapes, types and bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evoflash.problems import dtypes
from evoflash.problems.attention import paging
from evoflash.problems.attention.form import DIMENSIONS, AttentionForm
from evoflash.problems.base import Inputs, Output

if TYPE_CHECKING:
    import torch


class AttentionTensors(AttentionForm):
    """Attention of one size, and the tensors that it reads and writes.

    q has the shape (batch, heads, seq_q, head_dim), k (batch, kv_heads, seq_kv, head_dim), v the same with `value_dim`,
    and the output is (batch, heads, seq_q, value_dim), with `lse` (batch, heads, seq_q). Latent attention has no input
    v. Paged keys and values have the shape (pages, page_size, kv_heads, head_dim or value_dim).

    Packed sequences are a batch of one: q and the output have the rows of all of them, k and v the keys of all. Where
    those of each begin is an input, which ends with the end of the last. In memory a row has all its heads.
    """

    @property
    def cache_pages(self) -> int:
        """The pages of a cache, of which a few belong to no sequence."""
        return sum(self._page_counts) + paging.SPARE_PAGES

    @property
    def _page_counts(self) -> list[int]:
        return paging.page_counts(self.key_lengths, self.page_size or 1)

    @property
    def table_shape(self) -> tuple[int, int]:
        """The shape of the block table: the batch, and the pages of seq_kv keys."""
        return (self.batch, -(-self.seq_kv // (self.page_size or 1)))

    @property
    def min_bytes(self) -> int:
        """The bytes of inputs and outputs, of keys and values only those that some row's band lets it see.

        Of a block table, the pages of these.
        """
        seen = [self.band_of(keys).seen(self.rows_of(keys), keys) for keys in self.key_lengths]
        rows = sum(end - begin for begin, end in seen) * self.kv_heads
        size = self.page_size or 1
        names = {1: rows * self.head_dim}
        if not self.latent:
            names[2] = rows * self.value_size
        if "block_table" in self.extra_shapes():
            pages = sum(-(-end // size) - begin // size for begin, end in seen)
            names[self.leading_inputs + list(self.extra_shapes()).index("block_table")] = pages
        sizes = [names.get(number, math.prod(shape)) for number, shape in enumerate(self.input_shapes())]
        types = (*self.input_dtypes(), *(each.dtype for each in self.outputs()))
        sizes += [math.prod(each.shape) for each in self.outputs()]
        return sum(size * dtypes.BYTES[name] for size, name in zip(sizes, types, strict=True))

    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of q, k and v (of latent attention q and k), and of what follows them."""
        of_keys = (self.batch, self.kv_heads, self.seq_kv)
        if self.page_size is not None:
            of_keys = (self.cache_pages, self.page_size, self.kv_heads)
        q = (self.batch, self.heads, self.seq_q, self.head_dim)
        if self.is_packed:
            of_keys = (1, self.kv_heads, sum(self.key_lengths))
            q = (1, self.heads, sum(self.query_lengths), self.head_dim)
        v = () if self.latent else ((*of_keys, self.value_size),)
        return (q, (*of_keys, self.head_dim), *v, *self.extra_shapes().values())

    def input_dtypes(self) -> tuple[str, ...]:
        """That of the problem for q and a bias, and for k and v that are not quantised; bool for a mask, float32 for
        slopes, sinks and scales, else int32.
        """
        types = {"bias": self.dtype, "mask": "bool", "slopes": "float32", "sinks": "float32"}
        types |= dict.fromkeys(("lengths", "block_table", "q_starts", "k_starts"), "int32")
        types |= dict.fromkeys(("k_scales", "v_scales"), "float32")
        of_keys = (self.kv_dtype or self.dtype,) * (self.leading_inputs - 1)
        return (self.dtype, *of_keys, *(types[name] for name in self.extra_shapes()))

    def outputs(self) -> tuple[Output, ...]:
        """`out` of the type of q, and with a log-sum-exp `lse` of float32."""
        out = Output("out", self.output_shape(), self.dtype)
        return (out, Output("lse", out.shape[:3], "float32")) if self.lse else (out,)

    def output_shape(self) -> tuple[int, ...]:
        """That of `out`: batch, heads, rows, value size."""
        if self.is_packed:
            return (1, self.heads, sum(self.query_lengths), self.value_size)
        return (self.batch, self.heads, self.seq_q, self.value_size)

    @property
    def leading_inputs(self) -> int:
        """How many inputs there are ahead of the extras: q, k and v, or q and k."""
        return 2 if self.latent else 3

    def qkv(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q, k and v; v of latent attention is a view of k."""
        if not self.latent:
            return inputs[0], inputs[1], inputs[2]
        return inputs[0], inputs[1], inputs[1].narrow(3, 0, self.value_size)

    def extras(self, inputs: Inputs) -> Mapping[str, torch.Tensor]:
        """The inputs after q, k and v, by name (see `extra_shapes`)."""
        return dict(zip(self.extra_shapes(), inputs[self.leading_inputs :], strict=True))

    def extra_shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs after q, k and v, by name and in order.

        These are bias or mask (broadcast as SDPA's), slopes and sinks, lengths and block_table, k_scales and v_scales
        of quantised keys and values, q_starts and k_starts of packed sequences.
        """
        sizes = dict(zip(DIMENSIONS, (self.batch, self.heads, self.seq_q, self.seq_kv), strict=True))
        shapes: dict[str, tuple[int, ...]] = {}
        for name, over in (("bias", self.bias), ("mask", self.mask)):
            if over:
                shapes[name] = tuple(size if letter in over else 1 for letter, size in sizes.items())
        if self.alibi:
            shapes["slopes"] = (self.heads,)
        if self.sinks:
            shapes["sinks"] = (self.heads,)
        if self.lengths and not self.is_packed:
            shapes["lengths"] = (self.batch,)
        if self.page_size is not None:
            shapes["block_table"] = self.table_shape
        if self.kv_dtype is not None:
            shapes["k_scales"] = shapes["v_scales"] = (self.kv_heads,)
        if self.is_packed:
            shapes["q_starts"] = shapes["k_starts"] = (self.batch + 1,)
        return shapes

    def index_values(self, seed: int = 0) -> dict[int, list[int]]:
        """Those of lengths, block table and starts, by the number of the input."""
        made: dict[int, list[int]] = {}
        for number, name in enumerate(self.extra_shapes(), start=self.leading_inputs):
            if name == "lengths":
                made[number] = list(self.key_lengths)
            elif name == "block_table":
                made[number] = paging.block_table(self._page_counts, self.table_shape[1], self.cache_pages, seed)
            elif name == "q_starts":
                made[number] = paging.starts(self.query_lengths)
            elif name == "k_starts":
                made[number] = paging.starts(self.key_lengths)
        return made
