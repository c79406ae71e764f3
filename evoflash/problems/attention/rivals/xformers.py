"""xFormers' memory-efficient attention (Meta)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch


class Xformers(Rival):
    """`xformers.ops.memory_efficient_attention`, which dispatches to the fastest of its operators."""

    name = "xformers"
    module = "xformers.ops"
    package = "xformers"

    def refusal(self, problem: AttentionTensors) -> str:
        """It has classes for the masks of a band; what needs a tensor of biases is left to SDPA's efficient backend."""
        refused = requirements.features(problem, ("value_dim", "align", "window"))
        return refused or ("" if _is_top_left(problem) else requirements.bottom_right(problem))

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call on transposed views; grouped heads have a dimension of their own, in which the keys are expanded."""
        ops = self.load()
        q, k, v = (tensor.transpose(1, 2) for tensor in problem.qkv(inputs))
        group = problem.heads // problem.kv_heads
        if group > 1:
            q = q.unflatten(2, (problem.kv_heads, group))
            k, v = (tensor.unsqueeze(3).expand(-1, -1, -1, group, -1) for tensor in (k, v))
        mask = _mask(problem)

        def call() -> torch.Tensor:
            out = ops.memory_efficient_attention(q, k, v, attn_bias=mask, scale=problem.softmax_scale)
            return (out.flatten(2, 3) if group > 1 else out).transpose(1, 2)

        return call


def _is_top_left(problem: AttentionTensors) -> bool:
    return problem.causal and not problem.is_banded


def _mask(problem: AttentionTensors) -> Any:
    """Its class for the band, whose sides are numbers."""
    masks = importlib.import_module("xformers.ops.fmha.attn_bias")
    if _is_top_left(problem):
        return masks.LowerTriangularMask()
    band = requirements.bottom_right_band(problem)
    if not band.is_limited:
        return None
    if (band.left, band.right) == (None, 0):
        return masks.LowerTriangularFromBottomRightMask()
    farthest = problem.seq_q + problem.seq_kv
    return masks.LocalAttentionFromBottomRightMask(
        window_left=farthest if band.left is None else band.left,
        window_right=farthest if band.right is None else band.right,
    )
