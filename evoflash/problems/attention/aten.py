"""The operators behind SDPA's backends, which also return the log-sum-exp of each row's scores.

Each is called as `scaled_dot_product_attention` would: only where PyTorch says that the backend takes the problem, and
with keys repeated for grouped heads where it does not take these. Their conventions differ: memory-efficient attention
pads the rows of the log-sum-exp, and cuDNN's has one more dimension (aten/src/ATen/native/transformers of PyTorch).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.sdpa import sdpa_mask
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Baseline, Inputs, Outputs

if TYPE_CHECKING:
    import torch

Masks = Callable[[Inputs], "torch.Tensor | None"]
Operator = Callable[..., tuple[Any, ...]]


def baseline(problem: AttentionTensors, operator: Operator, masks: Masks) -> Baseline:
    """One of the operators as a baseline.

    Args:
        masks: gives the additive mask for inputs; None where the operator's causal mask says it all.
    """

    def run(*inputs: torch.Tensor) -> Outputs:
        q, k, v = problem.qkv(inputs)
        mask = masks(inputs)
        out, lse, *_ = operator(q, k, v, mask, problem.causal and mask is None, problem.softmax_scale)
        return out, lse.reshape(*q.shape[:2], -1)[:, :, : q.shape[2]]

    return run


def operator_mask(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """SDPA's mask as the operators take it: added to the scores, and one for each head and row."""
    import torch

    mask = sdpa_mask(problem, inputs)
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=inputs[0].dtype).masked_fill_(~mask, -math.inf)
    return mask.expand(problem.batch, problem.heads, problem.seq_q, problem.seq_kv)


def _flash(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> tuple[Any, ...]:
    import torch

    _require("flash", q, k, v, mask, is_causal)
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal, False, scale=scale)


def _cudnn(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> tuple[Any, ...]:
    import torch

    _require("cudnn", q, k, v, mask, is_causal)
    return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, mask, True, 0.0, is_causal, False, scale=scale)


def _efficient(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> tuple[Any, ...]:
    import torch

    k, v = _repeated(q, k, v)
    _require("efficient", q, k, v, mask, is_causal)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, mask, True, 0.0, is_causal, scale=scale)


def _flash_for_cpu(q: Any, k: Any, v: Any, mask: Any, is_causal: bool, scale: float) -> tuple[Any, ...]:
    import torch

    k, v = _repeated(q, k, v)
    if v.shape[3] != q.shape[3]:
        raise RuntimeError(f"it takes values of the size of keys, {q.shape[3]}, not {v.shape[3]}")
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, is_causal, attn_mask=mask, scale=scale
    )


OPERATORS: dict[str, dict[str, Operator]] = {
    "cuda": {"sdpa-cudnn": _cudnn, "sdpa-flash": _flash, "sdpa-efficient": _efficient},
    "cpu": {"sdpa": _flash_for_cpu},
}


def _repeated(q: Any, k: Any, v: Any) -> tuple[Any, Any]:
    group = q.shape[1] // k.shape[1]
    return (k, v) if group == 1 else (k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1))


def _require(backend: str, q: Any, k: Any, v: Any, mask: Any, is_causal: bool) -> None:
    """Raises RuntimeError unless SDPA would take the backend."""
    import torch

    params = torch.backends.cuda.SDPAParams(q, k, v, mask, 0.0, is_causal, q.shape[1] != k.shape[1])
    if not getattr(torch.backends.cuda, f"can_use_{backend}_attention")(params, False):
        raise RuntimeError("SDPA does not take this backend for these inputs")
