"""Small recordings made by a formula."""

import itertools

from evoflash.core.genome import Genome
from evoflash.replay import Recording
from tests.helpers import failed, right


def recording(name: str = "made-up", fails=lambda **_: False, sizes: tuple[int, ...] = (8, 6, 2)) -> Recording:
    """A valley with a twist; what breaks `rows * stages <= 48` was not measured."""
    rows = []
    for x, stages, fast in itertools.product(*(range(1, size + 1) for size in sizes)):
        if x * stages > 48:
            continue
        genome = Genome({"rows": x, "stages": stages, "fast": bool(fast - 1)})
        time_us = 10.0 + (x - 6) ** 2 + 2 * (stages - x // 2) ** 2 + 7 * (fast == 1) + x / 64
        rows.append(("made", genome, failed() if fails(**genome) else right(time_us)))
    return Recording.of(name, rows)
