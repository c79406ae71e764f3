"""The arguments of an attention kernel's launcher."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs, Outputs

if TYPE_CHECKING:
    import torch


POINTERS = (
    *("bias", "mask", "slopes", "sinks", "lengths", "block_table"),
    *("k_scales", "v_scales", "q_starts", "k_starts"),
)


class AttentionArguments(ctypes.Structure):
    """The ctypes equivalent of `EvoflashAttention` in templates/include/attention.h."""

    _fields_ = [
        ("q", ctypes.c_void_p),
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("batch", "heads", "kv_heads", "seq_q", "seq_kv", "head_dim")),
        *((f"{name}_stride", ctypes.c_int64 * 3) for name in ("q", "k", "v", "out")),
        ("scale", ctypes.c_float),
        ("causal", ctypes.c_int32),
        *((name, ctypes.c_int32) for name in ("value_dim", "banded", "diagonal", "window_left", "window_right")),
        ("softcap", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("bias", "mask", "slopes", "sinks")),
        *((f"{name}_stride", ctypes.c_int64 * 4) for name in ("bias", "mask")),
        *((name, ctypes.c_void_p) for name in ("lengths", "block_table")),
        ("table_stride", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("page_size", "num_pages")),
        *((name, ctypes.c_void_p) for name in ("k_scales", "v_scales")),
        *((name, ctypes.c_void_p) for name in ("q_starts", "k_starts")),
        ("lse", ctypes.c_void_p),
    ]


def arguments(problem: AttentionTensors, inputs: Inputs, outputs: Outputs) -> ctypes.Structure:
    """Pointers, sizes, and strides in elements; the last stride of q, k, v and the output must be 1. The log-sum-exp is
    contiguous.

    The values of latent attention have the address and the strides of the keys. A stride of a bias or mask is 0 in the
    dimensions that it does not extend over. Of paged keys and values the strides are those of page, head and row. The
    stride of the batch is 0 where sequences are packed.
    """
    q, k = inputs[:2]
    out, *more = outputs
    v = k if problem.latent else inputs[2]
    extras = problem.extras(inputs)
    strides = [tensor.stride()[:3] for tensor in (q, k, v, out)]
    if problem.page_size is not None:
        strides[1:3] = ((page, head, row) for page, row, head in strides[1:3])
    if problem.is_packed:
        strides = [(0, head, row) for _, head, row in strides]
    pointers = {name: extras[name].data_ptr() if name in extras else None for name in POINTERS}
    table = extras.get("block_table")
    band = problem.band
    limits = (-1 if side is None else side for side in (band.left, band.right))
    return AttentionArguments(
        q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), None,
        problem.batch, problem.heads, problem.kv_heads, problem.seq_q, problem.seq_kv, problem.head_dim,
        *((ctypes.c_int64 * 3)(*each) for each in strides), problem.softmax_scale, int(problem.causal),
        problem.value_size, int(problem.is_banded), band.diagonal, *limits, problem.softcap,
        *(pointers[name] for name in ("bias", "mask", "slopes", "sinks")),
        *(_broadcast_strides(extras.get(name)) for name in ("bias", "mask")),
        pointers["lengths"], pointers["block_table"], table.stride()[0] if table is not None else 0,
        problem.page_size or 0, k.shape[0] if table is not None else 0,
        pointers["k_scales"], pointers["v_scales"],
        pointers["q_starts"], pointers["k_starts"],
        *(each.data_ptr() for each in more),
    )  # fmt: skip


def _broadcast_strides(tensor: torch.Tensor | None) -> Any:
    """The strides of batch, head, row and key, 0 where the tensor is broadcast or there is none."""
    if tensor is None:
        return (ctypes.c_int64 * 4)()
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return (ctypes.c_int64 * 4)(*(stride if size > 1 else 0 for size, stride in pairs))
