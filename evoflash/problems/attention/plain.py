"""The form of attention whose errors bound a kernel's: SDPA, or as a fused kernel computes what SDPA does not take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from evoflash.problems.attention import quantization
from evoflash.problems.attention.reference import by_sequence, keyless, log_sum_exp
from evoflash.problems.attention.scores import scores
from evoflash.problems.attention.sdpa import sdpa, sdpa_mask
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs, Outputs

if TYPE_CHECKING:
    import torch

GRID_HEIGHT = 65_535  # the limit on the second and third dimension of a CUDA grid
PLAIN_SCORES = 2**26  # computed at a time where SDPA does not take the problem


def plain(problem: AttentionTensors, inputs: Inputs) -> Outputs:
    """SDPA with PyTorch's default backend, on contiguous copies and at most `GRID_HEIGHT` heads at a time.

    The copies are needed because the cuDNN backend reads outside unaligned rows, and the slices because it fails
    with more heads (PyTorch 2.11). What SDPA does not take is computed as a fused kernel does it: scores in float32,
    weights rounded to the type of the inputs. So are quantised keys and values, which are wide numbers then: were they
    rounded to the type of the queries, the bounds would bear that, too. Rows that see no key are 0; some backends have
    NaN there.

    The log-sum-exp is `torch.logsumexp` of scores in float32.
    """
    import torch

    if problem.kv_dtype is not None:
        problem, inputs = quantization.dequantized(problem, inputs, torch.float32)
    if problem.is_scattered:
        return by_sequence(problem, inputs, plain, keyless(problem, inputs))
    is_for_sdpa = problem.is_taken_by_sdpa and inputs[1].dtype == inputs[0].dtype
    out = _of_sdpa(problem, inputs) if is_for_sdpa else _fused(problem, inputs)
    return (out, _log_sum_exp(problem, inputs)) if problem.lse else (out,)


def _of_sdpa(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    import torch

    q, k, v = problem.qkv(inputs)
    mask = sdpa_mask(problem, inputs)
    group = problem.heads // problem.kv_heads
    keys = max(1, GRID_HEIGHT // group)
    sizes = (keys * group, keys, keys)
    slices = (each.split(size, dim=1) for each, size in zip((q, k, v), sizes, strict=True))
    parts = list(zip(*slices, strict=True))
    by_head = mask is not None and mask.shape[1] > 1
    masks = mask.split(keys * group, dim=1) if mask is not None and by_head else [mask] * len(parts)
    answers = [
        sdpa(problem, *(each.contiguous() for each in part), mask=own) for part, own in zip(parts, masks, strict=True)
    ]
    out = torch.cat(answers, dim=1) if len(answers) > 1 else answers[0]
    if mask is None:
        return out
    seen = mask if mask.dtype == torch.bool else mask > -math.inf
    return out.masked_fill(~seen.any(dim=-1, keepdim=True), 0.0)


def _fused(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    """As a fused kernel computes it: scores and sums in float32, weights before their division in the inputs' type."""
    import torch

    q, _, v = problem.qkv(inputs)
    out = torch.empty(problem.output_shape(), dtype=q.dtype, device=q.device)
    flat, sinks = out.flatten(0, 1), problem.extras(inputs).get("sinks")
    for place, logits in _logits(problem, inputs):
        batch, head = place // problem.heads, place % problem.heads
        largest = logits.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).min)
        weights = (logits - largest).exp()
        total = weights.sum(dim=-1, keepdim=True)
        if sinks is not None:
            total = total + (sinks[head][:, None, None] - largest).exp()
        values = v[batch, head // (problem.heads // problem.kv_heads)].float()
        answer = weights.to(q.dtype).float() @ values / total
        flat[place] = answer.masked_fill((logits == -math.inf).all(dim=-1, keepdim=True), 0.0).to(q.dtype)
    return out


def _log_sum_exp(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    import torch

    lse = torch.empty(problem.output_shape()[:3], dtype=torch.float32, device=inputs[0].device)
    flat, sinks = lse.flatten(0, 1), problem.extras(inputs).get("sinks")
    for place, logits in _logits(problem, inputs):
        flat[place] = log_sum_exp(logits, None if sinks is None else sinks[place % problem.heads])
    return lse


def _logits(problem: AttentionTensors, inputs: Inputs) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Numbers of heads, counted over the batch, with their scores (heads, rows, keys) in float32."""
    import torch

    q, k, _ = problem.qkv(inputs)
    extras = problem.extras(inputs)
    rows = torch.arange(problem.seq_q, device=q.device)
    heads = max(1, PLAIN_SCORES // (problem.seq_q * problem.seq_kv))
    for place in torch.arange(problem.batch * problem.heads, device=q.device).split(heads):
        batch, head = place // problem.heads, place % problem.heads
        keys = k[batch, head // (problem.heads // problem.kv_heads)].float()
        logits, _ = scores(problem, q[batch, head].float() @ keys.mT, place, rows, extras)
        yield place, logits
