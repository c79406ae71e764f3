"""The correctness cases of attention: the standard cases, and random ones that a kernel cannot be tuned to."""

from __future__ import annotations

import random
from typing import Any, Protocol, Self

from evoflash.problems import adversaries
from evoflash.problems.base import BASE_SEEDS, Case

BASE_SHAPES = {
    "tiny": (1, 1, 32, 64),
    "small": (1, 2, 64, 64),
    "medium": (1, 4, 128, 64),
    "mission": (1, 8, 512, 64),
    "multi_batch": (4, 8, 256, 64),
}
ODD_LENGTHS = ((1, 1), (31, 33), (65, 63), (127, 129), (113, 203), (799, 3), (3, 799), (1023, 1024))
LONG = (65, 4099)  # enough keys for many rounds of any pipeline
BLIND = 600  # rows and keys; of a half, whole tiles and splits of any kernel have no score but -inf
MANY_HEADS = 65_600  # more than the limit on the second and third dimension of a grid


class AttentionLike(Protocol):
    """The part of `AttentionProblem` from which cases are derived."""

    @property
    def heads(self) -> int:
        """Query heads."""
        ...

    @property
    def kv_heads(self) -> int:
        """Key-value heads."""
        ...

    @property
    def head_dim(self) -> int:
        """Head size."""
        ...

    @property
    def dtype(self) -> str:
        """The element type."""
        ...

    @property
    def causal(self) -> bool:
        """Whether there is a causal mask."""
        ...

    @property
    def scale(self) -> float | None:
        """The factor of the scores; None for the default."""
        ...

    @property
    def softmax_scale(self) -> float:
        """The factor of the scores."""
        ...

    @property
    def label(self) -> str:
        """Sizes, dtype and mask."""
        ...

    @classmethod
    def of(cls, batch: int, heads: int, seq: int, head_dim: int, **more: Any) -> Self:
        """A problem with equal lengths and ungrouped heads; keywords override any field."""
        ...


def standard_cases(problem: AttentionLike, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """The fifteen base cases, then odd lengths, causal masks, grouped heads (also in the problem's group size),
    adversaries, and infinite, huge and tiny numbers (in the problem's group size).
    """
    of = type(problem).of
    same = {"dtype": problem.dtype, "causal": problem.causal}
    own: dict[str, Any] = {**same, "scale": problem.scale}
    size = problem.head_dim
    cases = [
        Case(name=f"{name} seed {seed}", problem=of(*shape, **same), seed=seed)
        for name, shape in BASE_SHAPES.items()
        for seed in BASE_SEEDS
    ]
    for causal in (False, True):
        word = " causal" if causal else ""
        for rows, keys in (*ODD_LENGTHS, LONG):
            odd = of(1, 2, rows, size, **{**own, "seq_kv": keys, "causal": causal})
            cases.append(Case(name=f"{rows}x{keys}{word}", problem=odd))
        grouped = of(2, 8, 65, size, **{**own, "kv_heads": 2, "seq_kv": 129, "causal": causal})
        cases.append(Case(name=f"grouped heads 8(2) 65x129{word}", problem=grouped))
    group = problem.heads // problem.kv_heads
    if group > 1:  # kernels that share keys within a group decline the cases above
        for rows, keys in (*ODD_LENGTHS, LONG):
            odd = of(1, 2 * group, rows, size, **{**own, "kv_heads": 2, "seq_kv": keys})
            cases.append(Case(name=f"grouped heads {2 * group}(2) {rows}x{keys}", problem=odd))
    small = of(1, 2, 203, size, **own)
    cases += [Case(name=f"203 {variant}", problem=small, variant=variant) for variant in adversaries.VARIANTS]
    for length, variants in ((203, adversaries.EXTREMES), (BLIND, adversaries.INFINITE_KEYS)):
        extreme = of(1, 2 * group, length, size, **{**own, "kv_heads": 2})
        cases += [Case(name=f"{length} {variant}", problem=extreme, variant=variant) for variant in variants]
    batches = of(3, 4, 70, size, **{**own, "kv_heads": 2, "seq_kv": 90})
    cases += [
        Case(name=f"3x4(2) 70x90 {variant}", problem=batches, variant=variant) for variant in adversaries.LAYOUTS[:2]
    ]
    scaled = of(1, 2, 65, size, **{**same, "scale": 0.3 * problem.softmax_scale})
    cases.append(Case(name="65 scale x0.3", problem=scaled))
    for dtype in dtypes:
        if dtype != problem.dtype:
            other = of(1, 2, 113, size, **{**own, "dtype": dtype})
            cases.append(Case(name=f"113 {dtype}", problem=other))
    return tuple(cases)


def general_case(problem: AttentionLike, dtypes: tuple[str, ...]) -> Case:
    """The standard case of many keys, with the problem's own mask and group size."""
    group = problem.heads // problem.kv_heads
    lengths = f"{LONG[0]}x{LONG[1]}"
    own_name = f"grouped heads {2 * group}(2) {lengths}" if group > 1 else lengths + " causal" * problem.causal
    return next(case for case in standard_cases(problem, dtypes) if case.name == own_name)


def random_cases(problem: AttentionLike, seed: int) -> tuple[Case, ...]:
    """The problem itself, also with keys of -inf, random shapes, and more heads than the height of a grid."""
    rng = random.Random(seed)
    of = type(problem).of
    own = {"dtype": problem.dtype, "causal": problem.causal, "scale": problem.scale}
    cases = [Case(name=f"fresh seed {seed}", problem=problem, seed=seed)]
    # A kernel that takes no other lengths declines the standard cases.
    variant = adversaries.INFINITE_KEYS[0]
    cases.append(Case(name=f"fresh {variant}", problem=problem, seed=seed, variant=variant))
    for _ in range(3):
        batch, kv_heads, group = rng.randint(1, 3), rng.randint(1, 3), rng.choice((1, 2, 3))
        rows, keys = rng.randint(1, 300), rng.randint(1, 700)
        lengths = {"kv_heads": kv_heads, "seq_kv": keys}
        drawn = of(batch, kv_heads * group, rows, problem.head_dim, **{**own, **lengths})
        cases.append(Case(name=f"fresh {drawn.label.split()[0]}", problem=drawn, seed=rng.randrange(2**31)))
    many = of(1, MANY_HEADS, 1, problem.head_dim, **{**own, "seq_kv": 2})
    cases.append(Case(name=f"{MANY_HEADS} heads", problem=many, seed=seed))
    return tuple(cases)
