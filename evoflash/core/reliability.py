"""How far a machine's times can be trusted: the outcome of a self-test, and whether it keeps what it promises."""

from __future__ import annotations

from typing import Self

from evoflash.core.record import Record
from evoflash.core.statistics import Ratio

CONFIDENCE = 0.95
LEAST_TOLD = 0.95  # of the trials in which the work differs by 2 %
SUSPICIOUS = 0.01  # probability of so many false alarms, were each one in twenty


class SelfTested(Record):
    """What a self-test found.

    Attributes:
        same: ratio of the kernel to itself, one a trial; more: of the kernel with 2 % more launches to itself.
        rounds: of a trial; launches: of a sample.
    """

    same: tuple[Ratio, ...]
    more: tuple[Ratio, ...]
    rounds: int
    launches: int
    p50_us: float
    seconds: float

    @property
    def false_alarms(self) -> int:
        """Trials that tell a difference although there is none."""
        return sum(each.is_significant for each in self.same)

    @property
    def told(self) -> int:
        """Trials that tell the 2 % from none, and know the direction."""
        return sum(each.is_significant and each.value > 1 for each in self.more)


class Reliability(Record):
    """A self-test's outcome.

    Attributes:
        false_alarms: trials of a kernel against itself whose interval excludes 1 (by more than `EQUIVALENCE_MARGIN`).
        told: trials against the same kernel with 2 % more launches whose interval lies so far above 1.
        false_alarm_interval, told_interval: 95 % intervals of the two shares (Clopper and Pearson).
        sound: whether so few false alarms are what 95 % intervals give, and 2 % is told in 95 % of the trials.
    """

    name: str
    trials: int
    rounds: int
    launches: int
    p50_us: float
    false_alarms: int
    false_alarm_interval: tuple[float, float]
    told: int
    told_interval: tuple[float, float]
    sound: bool
    verdict: str
    same: tuple[Ratio, ...]
    more: tuple[Ratio, ...]
    seconds: float

    @classmethod
    def of(cls, name: str, found: SelfTested) -> Self:
        """Judges the trials."""
        from scipy.stats import binomtest

        trials = len(found.same)
        alarms, told = (binomtest(count, trials, 1 - CONFIDENCE) for count in (found.false_alarms, found.told))
        chance = binomtest(found.false_alarms, trials, 1 - CONFIDENCE, alternative="greater").pvalue
        complaints = []
        if chance < SUSPICIOUS:
            complaints.append(f"{found.false_alarms} false alarms in {trials} trials are more than 5 % explain")
        if found.told < LEAST_TOLD * trials:
            complaints.append(f"2 % is told in {found.told} of {trials} trials only; take more --iters")
        intervals = [each.proportion_ci(CONFIDENCE) for each in (alarms, told)]
        return cls(
            name=name,
            trials=trials,
            rounds=found.rounds,
            launches=found.launches,
            p50_us=found.p50_us,
            false_alarms=found.false_alarms,
            false_alarm_interval=(float(intervals[0].low), float(intervals[0].high)),
            told=found.told,
            told_interval=(float(intervals[1].low), float(intervals[1].high)),
            sound=not complaints,
            verdict="; ".join(complaints) or "2 % is told from nothing",
            same=found.same,
            more=found.more,
            seconds=found.seconds,
        )
