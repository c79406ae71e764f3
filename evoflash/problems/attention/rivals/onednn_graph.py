"""oneDNN's fused attention on a CPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention import sdpa
from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch

WARM_UP_CALLS = 3  # in which TorchScript profiles a function, optimises it, and runs it optimised


class OneDnnGraph(Rival):
    """oneDNN Graph's fusion of attention, which PyTorch reaches through TorchScript."""

    name = "onednn-graph"
    module = "torch"
    package = "torch"
    targets = ("cpu",)

    def refusal(self, problem: AttentionTensors) -> str:
        """TorchScript hands float32 and bfloat16 over to oneDNN Graph, which fuses products, a sum and a softmax."""
        if problem.dtype == "float16":
            return "it takes float32 and bfloat16, not float16"
        return requirements.features(problem, ("value_dim", "align", "window", "bias", "mask", "alibi"))

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call of the traced function; a group of heads is rows of its key head, so that nothing is expanded.

        Raises:
            RuntimeError: when attention was not fused.
        """
        import torch

        jit: Any = torch.jit
        jit.enable_onednn_fusion(True)
        group = problem.heads // problem.kv_heads
        _, k, v = problem.qkv(inputs)
        q = inputs[0].unflatten(1, (problem.kv_heads, group)).flatten(2, 3)
        bias = _bias(problem, inputs)

        def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            scores = torch.matmul(q, k.transpose(-2, -1)) * problem.softmax_scale
            if bias is not None:
                scores = scores + bias
            return torch.matmul(torch.softmax(scores, dim=-1), v)

        with torch.no_grad():
            traced = jit.trace(attention, (q, k, v), check_trace=False)
            for _ in range(WARM_UP_CALLS):
                traced(q, k, v)
        if "prim::oneDNNFusionGroup" not in str(jit.last_executed_optimized_graph()):
            raise RuntimeError("oneDNN Graph did not fuse it")
        return lambda: traced(q, k, v).unflatten(2, (group, problem.seq_q)).flatten(1, 2)


def _bias(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """What is added to the scores, by key head: (batch or 1, key heads or 1, rows of the group, keys)."""
    import torch

    dtype = inputs[0].dtype
    mask = sdpa.sdpa_mask(problem, inputs)
    if mask is None and problem.causal:
        mask = torch.ones(problem.seq_q, problem.seq_kv, dtype=torch.bool).tril()[None, None]
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -math.inf)
    group = problem.heads // problem.kv_heads
    if mask.shape[1] == 1:
        return mask.expand(-1, -1, problem.seq_q, -1).repeat(1, 1, group, 1)
    return mask.expand(-1, -1, problem.seq_q, -1).unflatten(1, (problem.kv_heads, group)).flatten(2, 3).contiguous()
