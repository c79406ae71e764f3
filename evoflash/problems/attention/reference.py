"""The reference of attention: the outputs in float64, and where they are left open."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from evoflash.problems.attention import quantization, sequences
from evoflash.problems.attention.scores import scores
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs, Outputs

if TYPE_CHECKING:
    import torch

# The reference is computed in slices of at most this many scores and elements of keys, so that long sequences fit in
# memory.
REFERENCE_SCORES = 2**24


def reference(problem: AttentionTensors, inputs: Inputs) -> Outputs:
    """The outputs in float64, computed in slices of heads and rows.

    NaNs and infinite values are only in the rows that see them. A row whose scores are all -inf is 0, and so is one
    that sees no key.
    """
    import torch

    if problem.kv_dtype is not None:
        return reference(*quantization.dequantized(problem, inputs, torch.float64))
    outputs = keyless(problem, inputs, torch.float64)
    if problem.is_scattered:
        return by_sequence(problem, inputs, reference, outputs)
    (flat, *sums), extras = (each.flatten(0, 1) for each in outputs), problem.extras(inputs)
    for place, rows, (queries, keys, values) in _slices(problem, *problem.qkv(inputs)):
        finite = values.isfinite()
        is_finite = bool(finite.all().item())
        logits, visible = scores(problem, queries @ keys.mT, place, rows, extras)
        hidden = (logits == -math.inf).all(dim=-1, keepdim=True)
        sinks = extras["sinks"][place % problem.heads] if "sinks" in extras else None
        weights = softmax(logits, sinks)
        for of_rows in sums:
            of_rows[place[0] : place[-1] + 1, rows[0] : rows[-1] + 1] = log_sum_exp(logits, sinks)
        answer = weights @ (values if is_finite else values.masked_fill(~finite, 0.0))
        if not is_finite:
            _fill_special(answer, weights, visible, values)
        flat[place[0] : place[-1] + 1, rows[0] : rows[-1] + 1] = answer.masked_fill_(hidden, 0.0)
    return outputs


def keyless(problem: AttentionTensors, inputs: Inputs, dtype: torch.dtype | None = None) -> Outputs:
    """The outputs of rows that see no key: 0, and a log-sum-exp of -inf, or of the head's sink.

    Args:
        dtype: of all; None for their own.
    """
    import torch

    out, *more = (
        torch.zeros(each.shape, dtype=dtype or getattr(torch, each.dtype), device=inputs[0].device)
        for each in problem.outputs()
    )
    for lse in more:
        sinks = problem.extras(inputs).get("sinks")
        lse.copy_(torch.tensor(-math.inf) if sinks is None else sinks[:, None])
    return (out, *more)


def by_sequence(
    problem: AttentionTensors,
    inputs: Inputs,
    of: Callable[[AttentionTensors, Inputs], Outputs],
    outputs: Outputs,
) -> Outputs:
    """The outputs, with what a function says of each sequence that has keys, as the dense problem that it is by
    itself.
    """
    for number, own, its in sequences.sequences(problem, inputs):
        for out, part in zip(outputs, of(own, its), strict=True):
            sequences.rows_of(problem, number, out).copy_(part)
    return outputs


def softmax(logits: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    """The weights of logits (n, r, keys), beside a further logit of each of the n where there are sinks."""
    import torch

    if sinks is None:
        return torch.softmax(logits, dim=-1)
    beside = sinks.to(logits.dtype)[:, None, None].expand(*logits.shape[:2], 1)
    return torch.softmax(torch.cat([logits, beside], dim=-1), dim=-1)[..., :-1]


def log_sum_exp(logits: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    """That of each row of logits (n, r, keys), beside a further logit of each of the n where there are sinks."""
    import torch

    sums = torch.logsumexp(logits, dim=-1)
    return sums if sinks is None else torch.logaddexp(sums, sinks.to(sums.dtype)[:, None])


def unspecified(problem: AttentionTensors, inputs: Inputs) -> tuple[torch.Tensor | None, ...]:
    """Where a NaN or infinite value is hidden or weighs next to nothing, and the rows whose scores are all -inf.

    SDPA's math backend computes 0 * NaN = NaN for hidden keys, while fused kernels skip them. So rows that see a
    NaN key or value must contain NaN, and rows for which it is masked may. Where all scores are -inf, the softmax
    is 0 / 0; some of SDPA's backends return that and others 0, which is what the reference has.

    Weights are rounded to the problem's type relative to the largest that has been seen. One that rounds to 0 makes
    0 * inf = NaN of an infinite value; whether it does depends on the order of the keys.

    A log-sum-exp may be NaN where that holds for the whole row of the output, or where it is infinite: as the maximum
    of the scores, inf is subtracted from itself.
    """
    import torch

    if problem.kv_dtype is not None:
        return unspecified(*quantization.dequantized(problem, inputs, torch.float64))
    if problem.is_scattered:
        return by_sequence(problem, inputs, _where_unspecified, _nowhere(problem, inputs))
    q, k, v = problem.qkv(inputs)
    masks = []
    special = k.isnan().any(dim=3, keepdim=True) | ~v.isfinite()
    if (problem.band.is_limited or problem.mask) and bool(special.any().item()):
        masks.append(_hidden(problem, inputs, special))
    if bool(v.isinf().any().item()):
        masks.append(_vanishing(problem, inputs))
    lse_masks = []
    if bool(q.isinf().any().item() or k.isinf().any().item()):
        out, *more = reference(problem, inputs)
        masks.append((out == 0).all(dim=3, keepdim=True).expand(problem.output_shape()))
        lse_masks += [lse == math.inf for lse in more]
    where = functools.reduce(operator.or_, masks) if masks else None
    if not problem.lse:
        return (where,)
    lse_masks += [where.all(dim=3)] if where is not None else []
    return where, functools.reduce(operator.or_, lse_masks) if lse_masks else None


def _nowhere(problem: AttentionTensors, inputs: Inputs) -> Outputs:
    import torch

    return tuple(torch.zeros(each.shape, dtype=torch.bool, device=inputs[0].device) for each in problem.outputs())


def _where_unspecified(problem: AttentionTensors, inputs: Inputs) -> Outputs:
    found = zip(unspecified(problem, inputs), _nowhere(problem, inputs), strict=True)
    return tuple(nowhere if where is None else where for where, nowhere in found)


def _slices(
    problem: AttentionTensors, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Numbers of heads (counted over the batch) and of rows, with their queries, keys and values in float64."""
    import torch

    group = problem.heads // problem.kv_heads
    rows = min(problem.seq_q, max(1, REFERENCE_SCORES // problem.seq_kv))
    heads = max(1, REFERENCE_SCORES // (max(rows, problem.head_dim) * problem.seq_kv))
    for first in range(0, problem.batch * problem.heads, heads):
        place = torch.arange(first, min(first + heads, problem.batch * problem.heads), device=q.device)
        batch, head = place // problem.heads, place % problem.heads
        queries, keys, values = (
            tensor[batch, which].double() for tensor, which in ((q, head), (k, head // group), (v, head // group))
        )
        for start in range(0, problem.seq_q, rows):
            numbers = torch.arange(start, min(start + rows, problem.seq_q), device=q.device)
            yield place, numbers, (queries[:, start : start + rows], keys, values)


def _hidden(problem: AttentionTensors, inputs: Inputs, special: torch.Tensor) -> torch.Tensor:
    """Mask of the outputs from which an element of `special`, which has the shape of v, is hidden."""
    import torch

    out = torch.empty(problem.output_shape(), dtype=torch.bool, device=special.device)
    flat, extras = out.flatten(0, 1), problem.extras(inputs)
    for place, rows, (queries, keys, _) in _slices(problem, inputs[0], inputs[1], special):
        batch, head = place // problem.heads, place % problem.heads
        marked = special[batch, head // (problem.heads // problem.kv_heads)].double()
        _, visible = scores(problem, queries @ keys.mT, place, rows, extras)
        flat[place[0] : place[-1] + 1, rows[0] : rows[-1] + 1] = (~visible).double() @ marked > 0
    return out


def _vanishing(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    """Mask of the outputs to which an infinite value contributes by a weight that the problem's type may round to 0."""
    import torch

    q, k, v = problem.qkv(inputs)
    limits = torch.finfo(q.dtype)
    least = limits.tiny * (limits.eps / 2 if q.dtype == torch.float16 else 1)  # others' subnormals count as 0
    out = torch.empty(problem.output_shape(), dtype=torch.bool, device=v.device)
    flat, extras = out.flatten(0, 1), problem.extras(inputs)
    for place, rows, (queries, keys, infinite) in _slices(problem, q, k, v.isinf()):
        logits, visible = scores(problem, queries @ keys.mT, place, rows, extras)
        largest = logits.amax(dim=-1, keepdim=True)
        if "sinks" in extras:
            largest = largest.maximum(extras["sinks"][place % problem.heads].double()[:, None, None])
        vanishing = visible & (logits - largest < math.log(least))
        flat[place[0] : place[-1] + 1, rows[0] : rows[-1] + 1] = vanishing.double() @ infinite > 0
    return out


def _fill_special(answer: torch.Tensor, weights: torch.Tensor, visible: torch.Tensor, values: torch.Tensor) -> None:
    """Writes what NaNs and infinite values become into an output that was computed without them."""
    is_infinite = values.isinf().double()
    positive = weights @ (values == math.inf).double() > 0
    negative = weights @ (values == -math.inf).double() > 0
    lost = visible.double() @ values.isnan().double() > 0
    lost |= (visible & (weights == 0)).double() @ is_infinite > 0  # 0 * inf
    answer.masked_fill_(positive, math.inf).masked_fill_(negative, -math.inf)
    answer.masked_fill_(lost | (positive & negative) | weights.isnan().any(dim=-1, keepdim=True), math.nan)
