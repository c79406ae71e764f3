"""What several rivals require of a problem: each function returns why it is not met, or an empty text."""

from __future__ import annotations

from collections.abc import Iterable

from evoflash.problems.attention.band import Band
from evoflash.problems.attention.tensors import AttentionTensors

HALVES = ("float16", "bfloat16")


def half_precision(problem: AttentionTensors) -> str:
    """For packages that take float16 and bfloat16."""
    return "" if problem.dtype in HALVES else f"it takes {' and '.join(HALVES)}, not {problem.dtype}"


def features(problem: AttentionTensors, taken: Iterable[str]) -> str:
    """For packages that take some of `form.FEATURES`."""
    missing = [name for name in problem.features if name not in taken]
    return f"it takes no {' and no '.join(missing)}" if missing else ""


def bottom_right(problem: AttentionTensors) -> str:
    """For packages in which the last row stands at the last key: slopes count from there, and windows have no holes."""
    sizes = f"{problem.seq_q} rows of {problem.seq_kv} keys"
    if problem.alibi and problem.band.diagonal != problem.seq_kv - problem.seq_q:
        return f"its slopes are aligned bottom-right, which is another alignment for {sizes}"
    band = bottom_right_band(problem)
    if (band.left is not None and band.left < 0) or (band.right is not None and band.right < 0):
        return f"its masks are aligned bottom-right, and cannot hide what is hidden here for {sizes}"
    return ""


def bottom_right_band(problem: AttentionTensors) -> Band:
    """The band of a problem, counted from where its last row stands at the last key."""
    return problem.band.counted_from(problem.seq_kv - problem.seq_q)
