"""Lengths of sequences as they are written, where packed ones begin, and block tables: in which pages keys lie."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Sequence
from typing import Any

LENGTHS = r"^(uniform(:\d{1,9})?|\d{1,10}(\+\d{1,10})*)?$"
SPARE_PAGES = 2  # of a cache, which no sequence has
NO_PAGE = 2**31 - 1  # in the block table, beyond a sequence's last page


@functools.lru_cache(maxsize=256)
def draw_lengths(lengths: str, batch: int, most: int) -> tuple[int, ...]:
    """The lengths of the sequences of a batch.

    Args:
        lengths: "uniform" or "uniform:SEED" for lengths from 1 to `most`, of which the first is `most`; or numbers as
            "7+0+16", which are repeated over the batch; empty for `most` everywhere.
    """
    if not lengths:
        return (most,) * batch
    if not lengths.startswith("uniform"):
        given = [int(each) for each in lengths.split("+")]
        return tuple(given[number % len(given)] for number in range(batch))
    rng = random.Random(int(lengths.partition(":")[2] or 0))
    return (most, *(1 + int(rng.random() * most) for _ in range(batch - 1)))


def spelled(lengths: Any) -> Any:
    """The same lengths in one spelling."""
    if isinstance(lengths, bool) or not isinstance(lengths, int | str):
        return lengths
    words = str(lengths)
    if re.fullmatch(LENGTHS, words) and words.startswith("uniform"):
        seed = int(words.partition(":")[2] or 0)
        return f"uniform:{seed}" if seed else "uniform"
    return words


def starts(lengths: Sequence[int]) -> list[int]:
    """Where sequences of these lengths begin that lie one after another, and where the last one ends."""
    return [0, *itertools.accumulate(lengths)]


def page_counts(lengths: Sequence[int], page_size: int) -> list[int]:
    """How many pages sequences of these lengths have."""
    return [-(-length // page_size) for length in lengths]


def block_table(counts: Sequence[int], columns: int, pages: int, seed: int) -> list[int]:
    """A block table, row after row: a sequence's pages lie anywhere in the cache.

    Args:
        counts: how many pages each sequence has.
        columns: of the table.
        pages: of the cache.
    """
    numbers = list(range(pages))
    random.Random(seed).shuffle(numbers)
    table: list[int] = []
    for count in counts:
        table += [numbers.pop() for _ in range(count)] + [NO_PAGE] * (columns - count)
    return table
