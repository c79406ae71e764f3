"""What a kernel's output is held to: attention in float64, and SDPA in the same dtype (docs/verify.md)."""

import math

import torch
from torch import Tensor

from evoflash.problems.attention import AttentionProblem
from evoflash.problems.attention.problem import SMALLEST_NORMAL
from evoflash.problems.dtypes import UNIT_ROUNDOFF
from evoflash.worker.references import errors

LARGEST = 2.0**127  # of float32, with room for a factor of log2(e)


def problem_of(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None) -> AttentionProblem:
    """The problem of inputs that fit together, with any scale at all."""
    batch, heads, rows, size = q.shape
    return AttentionProblem.model_construct(
        batch=batch,
        heads=heads,
        kv_heads=k.shape[1],
        seq_q=rows,
        seq_kv=k.shape[2],
        head_dim=size,
        dtype=str(q.dtype).removeprefix("torch."),
        causal=causal,
        scale=scale,
    )


def fault(problem: AttentionProblem, inputs: tuple[Tensor, Tensor, Tensor], out: Tensor, plain: Tensor) -> str | None:
    """What is wrong with an output; None for nothing."""
    (expected,) = problem.reference(inputs)
    disputed, uncertainty = _doubts(problem, inputs, expected)
    plain = plain.double()
    disputed |= ~((plain == expected) | (plain.isfinite() & expected.isfinite()) | (plain.isnan() & expected.isnan()))
    (unspecified,) = problem.unspecified(inputs)
    if unspecified is not None:
        disputed |= unspecified & out.isnan()
    limits = torch.finfo(getattr(torch, problem.dtype))  # beyond half a unit more than the largest, it rounds to inf
    may_overflow = expected.abs() + uncertainty >= limits.max * (1 + limits.eps / 4)
    disputed |= may_overflow & expected.isfinite() & out.isinf() & ((out > 0) == (expected > 0))
    if not math.isfinite(problem.softmax_scale):  # scores may be -inf without infinite inputs
        disputed |= (expected == 0).all(dim=-1, keepdim=True) & out.isnan()
    expected, plain, out = (torch.where(disputed, 0.0, each.double()) for each in (expected, plain, out))
    kinds = (out.isnan() != expected.isnan()) | (out.isinf() != expected.isinf())
    kinds |= expected.isinf() & (out != expected)
    if bool(kinds.any()):
        place = tuple(kinds.nonzero()[0].tolist())
        return f"{out[place]} instead of {expected[place]} at {place} ({int(kinds.sum())} elements)"
    uncertainty = torch.where(disputed | ~expected.isfinite(), 0.0, uncertainty)
    plain_max, plain_rms, _, _ = errors(plain, expected)
    bounds = problem.bounds(problem.outputs()[0], expected, plain_max, plain_rms)
    error = torch.where(expected.isfinite(), (out - expected).abs(), 0.0)
    excess = error - uncertainty - bounds.max_error
    if bool((excess > 0).any()):
        place = tuple((excess > 0).nonzero()[0].tolist())
        return (
            f"{out[place]} instead of {expected[place]} at {place}: {error[place]:.3g} > {bounds.max_error:.3g} (max)"
            f" + {uncertainty[place]:.3g}, SDPA {plain_max:.3g}"
        )
    rms, doubt = (each.square().mean().sqrt().item() for each in (error, uncertainty))
    if not rms <= bounds.rms_error + doubt:
        return f"{rms:.3g} > {bounds.rms_error:.3g} (rms) + {doubt:.3g}, SDPA {plain_rms:.3g}"
    return None


def _doubts(
    problem: AttentionProblem, inputs: tuple[Tensor, Tensor, Tensor], expected: Tensor
) -> tuple[Tensor, Tensor]:
    """Mask of the elements that depend on the order of sums, and how far rounding may move the others.

    SDPA's errors are a yardstick for many numbers. With a few it may happen to be exact where another right kernel is
    not, so an error is also allowed that the formats imply: scores and their exponentials are rounded to float32,
    weights to the output's type.
    """
    q, k, v = (each.double() for each in inputs)
    group = problem.heads // problem.kv_heads
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    rows, keys = torch.arange(problem.seq_q, device=q.device), torch.arange(problem.seq_kv, device=q.device)
    visible = keys[None, :] <= rows[:, None] + (0 if problem.causal else problem.seq_kv)
    finite_q, finite_k, finite_v = (each.nan_to_num(0.0, 0.0, 0.0) for each in (q, k, v))
    factor = problem.softmax_scale if math.isfinite(problem.softmax_scale) else 0.0
    scores = (q @ k.mT * problem.softmax_scale).masked_fill(~visible, -math.inf)
    sums = finite_q.abs() @ finite_k.abs().mT  # what the products of a score may add up to on the way
    weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)

    # Float32 may overflow on the way, or not, in a score or in a sum of weighted values that are not divided yet.
    overflows = ((sums * max(1.0, 2 * abs(factor)) > LARGEST) & visible).any(dim=-1, keepdim=True)
    overflows = overflows | (finite_v.abs().sum(dim=-2, keepdim=True) > LARGEST)
    # A weight that one format rounds to 0 and another does not, times an infinite value.
    relative = (scores - scores.nan_to_num(0.0).amax(dim=-1, keepdim=True)).exp()
    small = (relative < (2.0**-20 if problem.dtype == "float16" else 2.0**-100)) & visible
    overflows = overflows | (small.double() @ v.isinf().double() > 0)
    # 0 * inf instead of inf, where a number counts as 0.
    is_tiny = [((each != 0) & (each.abs() < SMALLEST_NORMAL)).any() for each in (q * factor, q, k)]
    if bool((q.isinf().any() | k.isinf().any()) & (is_tiny[0] | is_tiny[1] | is_tiny[2])):
        overflows = torch.ones_like(expected, dtype=torch.bool)

    # Numbers that count as 0 change a score, too: of q, of k, of q times the scale.
    of_keys = SMALLEST_NORMAL * finite_k.abs().sum(dim=-1)[..., None, :]
    flushed = SMALLEST_NORMAL * finite_q.abs().sum(dim=-1, keepdim=True) + of_keys
    score_errors = abs(factor) * (4 * UNIT_ROUNDOFF["float32"] * sums + flushed) + of_keys
    weight_errors = torch.expm1(2 * score_errors) + 2 * UNIT_ROUNDOFF[problem.dtype]
    changes = torch.where(weights == 0, 0.0, weights * weight_errors)
    limits = torch.finfo(inputs[0].dtype)
    least = max(SMALLEST_NORMAL, limits.smallest_normal * limits.eps)  # what a weight may lose by its type
    sizes = finite_v.abs()
    spread = changes @ sizes + expected.nan_to_num(0.0, 0.0, 0.0).abs() * changes.sum(dim=-1, keepdim=True)
    spread = spread.nan_to_num(math.inf, math.inf) + least * sizes.sum(dim=-2, keepdim=True)
    return overflows.expand_as(expected).clone(), spread
