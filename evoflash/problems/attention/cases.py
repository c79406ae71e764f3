"""The correctness cases of attention: the standard cases, and random ones that a kernel cannot be tuned to."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Collection
from typing import Any

from evoflash.problems.attention import adversaries
from evoflash.problems.attention.tensors import AttentionTensors
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
SMALL_WINDOW = (37, 11)  # keys before and after a row
REPEATED = 600  # keys, of which some have the same huge scores
BLIND = 600  # rows and keys; of a half, whole tiles and splits of any kernel have no score but -inf
PACKED = (130, 1, 0, 33, 64, 7, 70, 13)  # of which each second one is a neighbour that must not be seen
UNEVEN = (1100, 1, 0, 700, 64)  # lengths of which some have less than a tile, and one no key
HARD_LENGTHS = ((1, 1), (31, 33), (799, 3), LONG)
HARD_VARIANTS = (
    "logits_x30",
    "nan_row",
    "packed",
    "odd_rows",
    "hidden_rows",
    "infinite_query",
    "largest_values",
    "infinite_keys",
    "huge_scores",
    "nan_neighbours",
    "uneven_scales",
)
MANY_HEADS = 65_600  # more than the limit on the second and third dimension of a grid


def standard_cases(problem: AttentionTensors, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """The fifteen base cases, then odd lengths, causal masks, grouped heads (also in the problem's group size),
    adversaries, and infinite, huge and tiny numbers (in the problem's group size).

    All have the problem's features. A window is at most `SMALL_WINDOW` but in the base cases, so that short sequences
    are longer than it. Lengths are drawn, as those of the problem mean nothing for other sequences; further cases have
    lengths at the ends of pages, of a single key, and of none. Packed sequences have no more rows than keys, and
    neighbours that show when they are seen.
    """
    of = type(problem).of
    lengths = [each for each in (*ODD_LENGTHS, LONG) if not problem.is_packed or each[0] <= each[1]]
    features = _features(problem)
    same = {"dtype": problem.dtype, "causal": problem.causal, **features}
    same.pop("value_dim", None)
    if problem.window is not None:
        features["window"] = tuple(
            side if side is None else min(side, most) for side, most in zip(problem.window, SMALL_WINDOW, strict=True)
        )
    own: dict[str, Any] = {"dtype": problem.dtype, "causal": problem.causal, "scale": problem.scale, **features}
    size = problem.head_dim
    cases = [
        Case(name=f"{name} seed {seed}", problem=of(*shape, **same), seed=seed)
        for name, shape in BASE_SHAPES.items()
        for seed in BASE_SEEDS
    ]
    for causal in (False, True):
        word = " causal" if causal else ""
        masked = {**own, "causal": causal}
        if not causal and problem.window is None and not problem.alibi:
            masked.pop("align", None)  # which says how a mask is aligned
        for rows, keys in lengths:
            odd = of(1, 2, rows, size, **{**masked, "seq_kv": keys})
            cases.append(Case(name=f"{rows}x{keys}{word}", problem=odd))
        grouped = of(2, 8, 65, size, **{**masked, "kv_heads": 2, "seq_kv": 129})
        cases.append(Case(name=f"grouped heads 8(2) 65x129{word}", problem=grouped))
    group = problem.heads // problem.kv_heads
    if group > 1:  # kernels that share keys within a group decline the cases above
        for rows, keys in lengths:
            odd = of(1, 2 * group, rows, size, **{**own, "kv_heads": 2, "seq_kv": keys})
            cases.append(Case(name=f"grouped heads {2 * group}(2) {rows}x{keys}", problem=odd))
    small = of(1, 2, 203, size, **own)
    hiding = ("hidden_rows",) if problem.mask else ("hidden_rows", "infinite_bias") if problem.bias else ()
    variants = (*adversaries.VARIANTS, *hiding, *(adversaries.QUANTIZED if problem.kv_dtype else ()))
    cases += [Case(name=f"203 {variant}", problem=small, variant=variant) for variant in variants]
    for length, variants in ((203, adversaries.EXTREMES), (BLIND, adversaries.INFINITE_KEYS)):
        extreme = of(1, 2 * group, length, size, **{**own, "kv_heads": 2})
        cases += [
            Case(name=f"{length} {variant}", problem=extreme, variant=variant)
            for variant in _possible(problem, variants)
        ]
    # Beside huge scores a bias counts for nothing in float32, but in float64 it decides between equal ones.
    length = 203 if problem.bias or problem.alibi else REPEATED
    for rows, keys in ((length, length), (1 if problem.is_packed else 31, 1)):
        huge = of(1, 2 * group, rows, size, **{**own, "kv_heads": 2, "seq_kv": keys})
        name = str(rows) if rows == keys else f"{rows}x{keys}"
        variants = adversaries.HUGE_SCORES if keys > 1 else adversaries.HUGE_SCORES[:1]
        cases += [Case(name=f"{name} {variant}", problem=huge, variant=variant) for variant in variants]
    batches = of(3, 4, 70, size, **{**own, "kv_heads": 2, "seq_kv": 90})
    cases += [
        Case(name=f"3x4(2) 70x90 {variant}", problem=batches, variant=variant) for variant in adversaries.LAYOUTS[:2]
    ]
    scaled = of(1, 2, 65, size, **{**own, "scale": 0.3 * problem.softmax_scale})
    cases.append(Case(name="65 scale x0.3", problem=scaled))
    if problem.is_packed:
        cases += _packed_cases(problem, own)
    elif problem.is_scattered:
        cases += _scattered_cases(problem, own)
    for dtype in dtypes:
        if dtype != problem.dtype:
            other = of(1, 2, 113, size, **{**own, "dtype": dtype})
            cases.append(Case(name=f"113 {dtype}", problem=other))
    return tuple(cases)


def _possible(problem: AttentionTensors, variants: tuple[str, ...]) -> tuple[str, ...]:
    """Those that its types can have: of 8 bits there are no infinite keys and values."""
    return tuple(each for each in variants if problem.kv_dtype is None or each not in adversaries.INFINITE)


def _features(problem: AttentionTensors) -> dict[str, Any]:
    found = {name: getattr(problem, name) for name in problem.given}
    return {**found, "lengths": "uniform"} if problem.lengths else found


def _scattered_cases(problem: AttentionTensors, own: dict[str, Any]) -> list[Case]:
    """Where the ends of sequences and of pages meet, for one row and for several, which may be more than keys."""
    page = problem.page_size or 16
    ends = sorted({1, 2, page - 1, page, page + 1, 2 * page, 3 * page - 1, 3 * page} - {0})
    group = problem.heads // problem.kv_heads
    made: list[Case] = []
    for rows, words in ((1, "one row"), (7, "7 rows")):
        of = functools.partial(type(problem).of, heads=2 * group, seq=rows, head_dim=problem.head_dim)
        if not problem.lengths:
            for keys in ends:
                shape = of(batch=2, **{**own, "kv_heads": 2, "seq_kv": keys})
                made.append(Case(name=f"{rows}x{keys} in pages", problem=shape))
            continue
        for word, lengths in (("at the ends of pages", ends), ("uneven", UNEVEN)):
            several = {"kv_heads": 2, "seq_kv": max(lengths), "lengths": "+".join(map(str, lengths))}
            shape = of(batch=len(lengths), **{**own, **several})
            made.append(Case(name=f"{words}, lengths {word}", problem=shape))
    return made


def _packed_cases(problem: AttentionTensors, own: dict[str, Any]) -> list[Case]:
    """Whole sequences, and their last rows, beside neighbours of all kinds."""
    group = problem.heads // problem.kv_heads
    made: list[Case] = []
    for lengths, variants in ((PACKED, ("normal", *adversaries.NEIGHBOURS)), (UNEVEN, ("normal",))):
        for rows, words in ((max(lengths), "all rows"), (7, "7 rows"), (1, "one row")):
            sizes = {"kv_heads": 2, "seq_kv": max(lengths), "lengths": "+".join(map(str, lengths))}
            shape = type(problem).of(len(lengths), 2 * group, rows, problem.head_dim, **{**own, **sizes})
            name = f"{words} of {'uneven' if lengths is UNEVEN else 'packed'}"
            made += [
                Case(name=name + f" {each}" * (each != "normal"), problem=shape, variant=each) for each in variants
            ]
    return made


def hardest_cases(problem: AttentionTensors, dtypes: tuple[str, ...]) -> tuple[Case, ...]:
    """The standard cases on which most of the wrong kernels fall that are right on the searched inputs.

    They are those of docs/results/verify-cuda.json, and one for each kind of number or layout of which a family may not
    have thought. A standard case of each is enough: what a kernel does with -inf, it does at every length.
    """
    cases = standard_cases(problem, dtypes)
    names = {_own_name(problem, rows, keys) for rows, keys in HARD_LENGTHS} | {"65 scale x0.3"}
    first = {case.variant: case for case in reversed(cases)}
    hard = [first[variant].name for variant in HARD_VARIANTS if variant in first]
    return tuple(case for case in cases if case.name in names or case.name in hard)


def general_case(problem: AttentionTensors, dtypes: tuple[str, ...]) -> Case:
    """The standard case of many keys, with the problem's own mask and group size."""
    own_name = _own_name(problem, *LONG)
    return next(case for case in standard_cases(problem, dtypes) if case.name == own_name)


def has_other_lengths(problem: AttentionTensors, names: Collection[str]) -> bool:
    """Whether a standard case of other lengths is among these, with the problem's own mask."""
    return any(re.fullmatch(rf"\d+x\d+{' causal' * problem.causal}", name) for name in names)


def _own_name(problem: AttentionTensors, rows: int, keys: int) -> str:
    """The name of the standard case of these lengths with the problem's own mask and group size."""
    group = problem.heads // problem.kv_heads
    if group > 1:
        return f"grouped heads {2 * group}(2) {rows}x{keys}"
    return f"{rows}x{keys}" + " causal" * problem.causal


def random_cases(problem: AttentionTensors, seed: int) -> tuple[Case, ...]:
    """The problem itself, also with keys of -inf and with huge scores, random shapes, and more heads than the height of
    a grid.
    """
    rng = random.Random(seed)
    of = type(problem).of
    features = _features(problem)
    own = {"dtype": problem.dtype, "causal": problem.causal, "scale": problem.scale, **features}
    cases = [Case(name=f"fresh seed {seed}", problem=problem, seed=seed)]
    # A kernel that takes no other lengths declines the standard cases.
    variants = [
        *_possible(problem, adversaries.INFINITE_KEYS[:1]),
        *([] if problem.bias or problem.alibi else adversaries.HUGE_SCORES[:1]),
    ]
    cases += [Case(name=f"fresh {variant}", problem=problem, seed=seed, variant=variant) for variant in variants]
    for _ in range(3):
        batch, kv_heads, group = rng.randint(1, 3), rng.randint(1, 3), rng.choice((1, 2, 3))
        rows, keys = rng.randint(1, 300), rng.randint(1, 700)
        rows = min(rows, keys) if problem.is_packed else rows
        lengths: dict[str, Any] = {"kv_heads": kv_heads, "seq_kv": keys}
        if problem.lengths:
            lengths["lengths"] = f"uniform:{rng.randint(1, 9999)}"
        drawn = of(batch, kv_heads * group, rows, problem.head_dim, **{**own, **lengths})
        cases.append(Case(name=f"fresh {drawn.label.split()[0]}", problem=drawn, seed=rng.randrange(2**31)))
    if problem.page_size is None:  # a page of so many heads would take hundreds of megabytes
        shared = {"kv_heads": 1} if problem.latent else {}  # as its models have it: keys are large
        many = of(1, MANY_HEADS, 1, problem.head_dim, **{**own, "seq_kv": 2, **shared})
        cases.append(Case(name=f"{MANY_HEADS} heads", problem=many, seed=seed))
    return tuple(cases)
