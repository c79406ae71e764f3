"""The reliability of a machine's timings: the outcome of a self-test, and the verdict on it."""

from __future__ import annotations

from typing import Self

from evoflash.core.record import Record
from evoflash.core.statistics import Ratio

CONFIDENCE = 0.95
MIN_DETECTED = 0.95  # required share of detections where the work differs by 2 %
ALARM_P_VALUE = 0.01  # significance level of a one-sided test for more than 5 % false alarms


class SelfTested(Record):
    """The measurements of a self-test.

    Attributes:
        same: ratio of the kernel to itself, one per trial.
        more: ratio of the kernel with 2 % more launches to itself, one per trial.
        rounds: rounds per trial.
        launches: launches per sample.
    """

    same: tuple[Ratio, ...]
    more: tuple[Ratio, ...]
    rounds: int
    launches: int
    p50_us: float
    seconds: float

    @property
    def false_alarms(self) -> int:
        """Trials in which the kernel differs significantly from itself."""
        return sum(each.is_significant for each in self.same)

    @property
    def detected(self) -> int:
        """Trials in which the 2 % more work is significantly slower."""
        return sum(each.is_significant and each.value > 1 for each in self.more)


class Reliability(Record):
    """The outcome of a self-test.

    Attributes:
        name: the kernel's name in tables.
        trials: how often it was timed against itself, and against itself with more work.
        rounds: rounds per trial.
        launches: launches per sample.
        p50_us: its median time in microseconds.
        false_alarms: trials of a kernel against itself whose interval excludes 1 (by more than `EQUIVALENCE_MARGIN`).
        detected: trials against the same kernel with 2 % more launches whose interval is above 1 by more than that.
        false_alarm_interval, detected_interval: 95 % Clopper-Pearson intervals of the two shares.
        sound: whether the false alarms are consistent with 95 % intervals, and the 2 % are detected in 95 % of the
            trials.
        verdict: that, in words.
        same, more: the ratio of each trial, against itself and with 2 % more launches.
        seconds: wall time of the self-test.
    """

    name: str
    trials: int
    rounds: int
    launches: int
    p50_us: float
    false_alarms: int
    false_alarm_interval: tuple[float, float]
    detected: int
    detected_interval: tuple[float, float]
    sound: bool
    verdict: str
    same: tuple[Ratio, ...]
    more: tuple[Ratio, ...]
    seconds: float

    @classmethod
    def of(cls, name: str, found: SelfTested) -> Self:
        """Evaluates the trials."""
        from scipy.stats import binomtest

        trials = len(found.same)
        alarms, detected = (binomtest(count, trials, 1 - CONFIDENCE) for count in (found.false_alarms, found.detected))
        chance = binomtest(found.false_alarms, trials, 1 - CONFIDENCE, alternative="greater").pvalue
        complaints = []
        if chance < ALARM_P_VALUE:
            complaints.append(f"{found.false_alarms} false alarms in {trials} trials, where 5 % are expected")
        if found.detected < MIN_DETECTED * trials:
            complaints.append(f"a difference of 2 % was detected in only {found.detected} of {trials} trials")
        intervals = [each.proportion_ci(CONFIDENCE) for each in (alarms, detected)]
        return cls(
            name=name,
            trials=trials,
            rounds=found.rounds,
            launches=found.launches,
            p50_us=found.p50_us,
            false_alarms=found.false_alarms,
            false_alarm_interval=(float(intervals[0].low), float(intervals[0].high)),
            detected=found.detected,
            detected_interval=(float(intervals[1].low), float(intervals[1].high)),
            sound=not complaints,
            verdict="; ".join(complaints) or "a difference of 2 % is detected reliably",
            same=found.same,
            more=found.more,
            seconds=found.seconds,
        )
