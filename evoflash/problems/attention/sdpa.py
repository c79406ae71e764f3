"""SDPA of a problem: the call, and the mask that makes it compute what the problem asks for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.scores import scores
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs, NotTakenError

if TYPE_CHECKING:
    import torch


def sdpa(
    problem: AttentionTensors, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """SDPA with the problem's scale and grouping; causal where there is no mask."""
    from torch.nn.functional import scaled_dot_product_attention

    if problem.latent and mask is None and not problem.causal:
        answer = scaled_dot_product_attention(heads_as_rows(q, k), k, v, scale=problem.softmax_scale)
        return answer.reshape(*q.shape[:3], v.shape[3])  # a GPU lays rows before heads
    return scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=problem.causal and mask is None,
        scale=problem.scale,
        enable_gqa=problem.heads != problem.kv_heads,
    )


def call_of(problem: AttentionTensors, function: Callable[..., Any], inputs: Inputs) -> Callable[[], Any]:
    """A call of a function with SDPA's signature. Defaults are left out, so that it may lack their keywords.

    For attention with a log-sum-exp, a function that has a parameter `return_lse` is asked for it, and returns it after
    the output.

    Raises:
        NotTakenError: for a problem that SDPA has no arguments for, or of which the function cannot return all outputs.
    """
    if not problem.is_taken_by_sdpa:
        raise NotTakenError(f"SDPA has no arguments for {', '.join(problem.features)}")
    try:
        known = inspect.signature(function).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    except (TypeError, ValueError):  # a built-in
        known, takes_any = {}, True
    if problem.lse and "return_lse" not in known:
        raise NotTakenError("the function has no parameter return_lse")
    causal = "causal" if "causal" in known and "is_causal" not in known else "is_causal"
    mask = sdpa_mask(problem, inputs)
    wanted = {causal: problem.causal and mask is None, "scale": problem.scale}
    if "enable_gqa" in known or takes_any:
        wanted["enable_gqa"] = problem.heads != problem.kv_heads
    if problem.lse:
        wanted["return_lse"] = True
    given = {name: value for name, value in wanted.items() if value not in (None, False)}
    given |= {} if mask is None else {"attn_mask": mask}
    return lambda: function(*problem.qkv(inputs), **given)


def sdpa_mask(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """The attn_mask that makes SDPA compute the problem; None where is_causal says it all.

    It is boolean where only keys are hidden, else of the type of the inputs.
    """
    extras = problem.extras(inputs)
    if not problem.is_banded and not extras.keys() & {"bias", "mask", "slopes"}:
        return None
    if problem.bias and not problem.alibi and not problem.band.is_limited:
        mask = extras["bias"]
    else:
        mask = additive_mask(problem, inputs)
    if mask is None or mask.shape[3] == problem.seq_kv:
        return mask
    return mask.expand(*mask.shape[:3], problem.seq_kv).contiguous()  # SDPA's kernels read several keys at once


def additive_mask(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """What is added to the products: (batch or 1, heads or 1, rows or 1, keys), boolean where it only hides keys."""
    import torch

    extras = problem.extras(inputs)
    q = inputs[0]
    if not extras.keys() & {"bias", "slopes"}:
        parts = [extras["mask"]] if problem.mask else []
        parts += [_band_mask(problem, q.device)[None, None]] if problem.band.is_limited else []
        return functools.reduce(torch.logical_and, parts) if parts else None
    rows = torch.arange(problem.seq_q, device=q.device)
    over_batch = any(name in extras and extras[name].shape[0] > 1 for name in ("bias", "mask"))
    heads = torch.arange(problem.heads * (problem.batch if over_batch else 1), device=q.device)
    unit = torch.zeros((len(heads), problem.seq_q, problem.seq_kv), dtype=torch.float32, device=q.device)
    added, _ = scores(problem, unit, heads, rows, extras)
    return added.to(q.dtype).view(-1, problem.heads, problem.seq_q, problem.seq_kv)


def heads_as_rows(tensor: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """(batch, heads, rows, n) with the heads that share keys below each other: (batch, kv_heads, group * rows, n)."""
    return tensor.reshape(k.shape[0], k.shape[1], -1, tensor.shape[3])


def _band_mask(problem: AttentionTensors, device: torch.device) -> torch.Tensor:
    import torch

    rows, keys = (torch.arange(size, device=device) for size in (problem.seq_q, problem.seq_kv))
    return problem.band.visible(rows, keys)
