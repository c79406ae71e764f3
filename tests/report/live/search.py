"""Counts of a made-up search, for the tests of what shows them."""

from evoflash.core.candidate import Candidate
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.progress import Work
from evoflash.report.live import Counts

BASELINES = {
    "sdpa-flash": 17.7,
    "flash-attention-3": 12.8,
    "sdpa-math": 188.1,
    "sdpa-cudnn": 13.9,
    "flex-attention": 25,
}
LONG = "b=1,h=32,kv=8,s=4096,d=128,dtype=bf16,causal,window=127:0,layout=bshd"
FAMILIES = ("cuda_flash_wgmma", "a_family_whose_name_is_very_long_indeed", "漢字_family", "d", "e", "f", "g", "h")
OPERATORS = ("crossover", "step", "family-switch", "jump", "model", "seed", "transfer", "random")
STATUSES = (*[Status.OK] * 5, Status.DUPLICATE, *(status for status in Status if status is not Status.OK))


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def candidate(index: int, family: str = FAMILIES[0]) -> Candidate:
    return Candidate(index, family, Genome({}), "step")


def counts(*shapes: str, results: int = 0, phase: str = "search") -> Counts:
    """The counts after so many results, which come from all families, operators and statuses in turn."""
    clock = Clock()
    made = Counts(400, 5.0, f"{', '.join(shapes)} on NVIDIA H100 80GB HBM3", shapes, clock)
    for shape in shapes if phase != "baselines" else ():
        made.baselines(shape, BASELINES)
    for index in range(results):
        status = STATUSES[index % len(STATUSES)]
        is_right = status in (Status.OK, Status.DUPLICATE)
        family, operator = FAMILIES[index % len(FAMILIES)], OPERATORS[index // 3 % len(OPERATORS)]
        time_us = 8.4 + 30 / (1 + index) if is_right else None
        made.add(shapes[index % len(shapes)], index, family, operator, status, time_us)
    building = tuple(candidate(results + number) for number in range(9))
    made.watch(lambda: Work(phase, building, (candidate(7),), 12, 151.0, 151.0))
    return made
