"""PyTorch's own way to packed sequences: SDPA of nested tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch


class NestedSdpa(Rival):
    """SDPA of nested tensors in the jagged layout, which are views of packed sequences.

    Its masks are aligned top-left. On a CPU it has no fused kernel: a loop over the sequences is far ahead of it.
    """

    name = "sdpa-nested"
    module = "torch.nested"
    package = "torch"

    def refusal(self, problem: AttentionTensors) -> str:
        """Takes packed sequences without further features, all heads with keys of their own."""
        if not problem.is_packed:
            return "it takes packed sequences alone"
        if problem.causal and problem.is_banded:
            return "its masks are aligned top-left"
        if problem.heads != problem.kv_heads:
            return "its heads have keys of their own"
        return requirements.features(problem, ("value_dim", "align", "packed"))

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call on nested views, which know the longest sequence, so that no call waits for the device."""
        from torch.nn.functional import scaled_dot_product_attention

        nested, extras = self.load(), problem.extras(inputs)

        def view(tensor: torch.Tensor, starts: torch.Tensor, longest: int) -> Any:
            rows = tensor[0].transpose(0, 1)
            return nested.nested_tensor_from_jagged(rows, starts, min_seqlen=0, max_seqlen=longest).transpose(1, 2)

        q, k, v = problem.qkv(inputs)
        queries = view(q, extras["q_starts"], max(problem.query_lengths))
        keys, values = (view(each, extras["k_starts"], max(problem.key_lengths)) for each in (k, v))

        def call() -> torch.Tensor:
            out = scaled_dot_product_attention(
                queries, keys, values, is_causal=problem.causal, scale=problem.softmax_scale
            )
            return out.transpose(1, 2).values().transpose(0, 1)[None]

        return call
