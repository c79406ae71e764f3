"""The correctness cases of attention: what a finalist is checked on, and what nobody could know before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from evoflash.problems import adversaries
from evoflash.problems.base import BASE_SEEDS, Case

if TYPE_CHECKING:
    from evoflash.problems.attention import AttentionProblem

BASE_SHAPES = {
    "tiny": (1, 1, 32, 64),
    "small": (1, 2, 64, 64),
    "medium": (1, 4, 128, 64),
    "mission": (1, 8, 512, 64),
    "multi_batch": (4, 8, 256, 64),
}
ODD_LENGTHS = ((1, 1), (31, 33), (65, 63), (127, 129), (113, 203), (799, 3), (3, 799), (1023, 1024))
LONG = (65, 4099)  # keys enough for any pipeline to go round many times
MANY_HEADS = 65_600  # more than a grid's second and third dimension hold


def known(problem: AttentionProblem, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """The fifteen base cases, then odd lengths, causal, grouped heads (in groups of its own size) and adversaries."""
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
    if group > 1:  # kernels that share keys among a group's heads decline the cases above
        for rows, keys in (*ODD_LENGTHS, LONG):
            odd = of(1, 2 * group, rows, size, **{**own, "kv_heads": 2, "seq_kv": keys})
            cases.append(Case(name=f"grouped heads {2 * group}(2) {rows}x{keys}", problem=odd))
    small = of(1, 2, 203, size, **own)
    cases += [Case(name=f"203 {variant}", problem=small, variant=variant) for variant in adversaries.VARIANTS]
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


def fresh(problem: AttentionProblem, seed: int) -> tuple[Case, ...]:
    """The problem itself, shapes drawn by the seed, and more heads than a grid is high."""
    rng = random.Random(seed)
    of = type(problem).of
    own = {"dtype": problem.dtype, "causal": problem.causal, "scale": problem.scale}
    cases = [Case(name=f"fresh seed {seed}", problem=problem, seed=seed)]
    for _ in range(3):
        batch, kv_heads, group = rng.randint(1, 3), rng.randint(1, 3), rng.choice((1, 2, 3))
        rows, keys = rng.randint(1, 300), rng.randint(1, 700)
        lengths = {"kv_heads": kv_heads, "seq_kv": keys}
        drawn = of(batch, kv_heads * group, rows, problem.head_dim, **{**own, **lengths})
        cases.append(Case(name=f"fresh {drawn.label.split()[0]}", problem=drawn, seed=rng.randrange(2**31)))
    many = of(1, MANY_HEADS, 1, problem.head_dim, **{**own, "seq_kv": 2})
    cases.append(Case(name=f"{MANY_HEADS} heads", problem=many, seed=seed))
    return tuple(cases)
