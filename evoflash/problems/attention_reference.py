"""The reference of attention: the output in float64, and where it is left open."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Protocol

from evoflash.problems.base import Inputs

if TYPE_CHECKING:
    import torch

# The reference is computed in slices of at most this many scores, so that long sequences fit in memory.
REFERENCE_SCORES = 2**24


class AttentionSizes(Protocol):
    """The part of `AttentionProblem` that its reference depends on; its documentation is there."""

    heads: int
    kv_heads: int
    seq_q: int
    seq_kv: int
    causal: bool

    @property
    def softmax_scale(self) -> float:
        """The factor of the scores."""
        ...

    def output_shape(self) -> tuple[int, ...]:
        """The shape of q."""
        ...


def reference(problem: AttentionSizes, inputs: Inputs) -> torch.Tensor:
    """The output in float64, of q's shape, computed in slices of heads and rows.

    NaNs and infinite values are only in the rows that see them. A row whose scores are all -inf is 0.
    """
    import torch

    q, k, v = inputs
    out = torch.empty(problem.output_shape(), dtype=torch.float64, device=q.device)
    flat, group = out.flatten(0, 1), problem.heads // problem.kv_heads
    rows = min(problem.seq_q, max(1, REFERENCE_SCORES // problem.seq_kv))
    heads = max(1, REFERENCE_SCORES // (rows * problem.seq_kv))
    columns = torch.arange(problem.seq_kv, device=q.device)
    for first in range(0, len(flat), heads):
        place = torch.arange(first, min(first + heads, len(flat)), device=q.device)
        batch, head = place // problem.heads, place % problem.heads
        queries, keys, values = (
            tensor[batch, which].double() for tensor, which in ((q, head), (k, head // group), (v, head // group))
        )
        finite = values.isfinite()
        is_finite = bool(finite.all().item())
        for start in range(0, problem.seq_q, rows):
            scores = queries[:, start : start + rows] @ keys.mT * problem.softmax_scale
            numbers = torch.arange(start, start + scores.shape[1], device=q.device)
            visible = columns[None, :] <= numbers[:, None] if problem.causal else torch.ones_like(scores[0]).bool()
            if problem.causal:
                scores.masked_fill_(~visible, -math.inf)
            weights = torch.softmax(scores, dim=-1)
            answer = weights @ (values if is_finite else values.masked_fill(~finite, 0.0))
            if not is_finite:
                _fill_special(answer, weights, visible, values)
            answer.masked_fill_((scores == -math.inf).all(dim=-1, keepdim=True), 0.0)
            flat[first : first + heads, start : start + rows] = answer
    return out


def unspecified(problem: AttentionSizes, inputs: Inputs) -> torch.Tensor | None:
    """The rows for which a causal mask hides a NaN or an infinite value, and the rows whose scores are all -inf.

    SDPA's math backend computes 0 * NaN = NaN for hidden keys, while fused kernels skip them. So rows that see a
    NaN key or value must contain NaN, and rows for which it is masked may. Where all scores are -inf, the softmax
    is 0 / 0; some of SDPA's backends return that and others 0, which is what the reference has.
    """
    q, k, v = inputs
    masks = []
    special = k.isnan().any(dim=3, keepdim=True) | ~v.isfinite()
    if problem.causal and bool(special.any().item()):
        masks.append(_hidden(problem, special))
    if bool(q.isinf().any().item() or k.isinf().any().item()):
        masks.append((reference(problem, inputs) == 0).all(dim=3, keepdim=True).expand(problem.output_shape()))
    return functools.reduce(operator.or_, masks) if masks else None


def _hidden(problem: AttentionSizes, special: torch.Tensor) -> torch.Tensor:
    """Mask of the outputs for which the causal mask hides an element of `special`, which has the shape of v."""
    import torch

    at_or_after = special.flip(2).int().cummax(dim=2).values.flip(2).bool()
    beyond = torch.nn.functional.pad(at_or_after, (0, 0, 0, 1))
    next_key = torch.arange(1, problem.seq_q + 1, device=special.device).clamp(max=problem.seq_kv)
    return beyond[:, :, next_key].repeat_interleave(problem.heads // problem.kv_heads, dim=1)


def _fill_special(answer: torch.Tensor, weights: torch.Tensor, visible: torch.Tensor, values: torch.Tensor) -> None:
    """Writes what NaNs and infinite values become into an output that was computed without them."""
    is_infinite = values.isinf().double()
    positive = weights @ (values == math.inf).double() > 0
    negative = weights @ (values == -math.inf).double() > 0
    lost = visible.double() @ values.isnan().double() > 0
    lost |= (visible & (weights == 0)).double() @ is_infinite > 0  # 0 * inf
    answer.masked_fill_(positive, math.inf).masked_fill_(negative, -math.inf)
    answer.masked_fill_(lost | (positive & negative) | weights.isnan().any(dim=-1, keepdim=True), math.nan)
