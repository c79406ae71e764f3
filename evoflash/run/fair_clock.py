"""A fair clock: what several devices time, as if one had timed it all.

Devices of one kind do not run at one speed: voltages, power limits and cooling differ, and with them the clocks. So
each device times PyTorch's baselines of the run, all at the same moment, and those of the first device are the
reference. How much longer the baselines take on a device is its ratio: the median over the baselines of own time by
reference. A candidate's times there are divided by it. A ratio that is within `EQUIVALENCE_MARGIN` of 1 counts as 1, as
for any two times. The candidate's record keeps device and ratio, so the times as they were taken are known.

Clocks drift as devices warm up, so each device times its baselines again every `DRIFT_S` seconds of search; a ratio
that has moved by more than `PEERS_MARGIN` is measured a second time before it is believed. The finals are held on one
device, or on each and told apart, so who wins does not depend on ratios.

With one device nothing is measured and nothing corrected.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.finals import Final, Finals
from evoflash.core.statistics import EQUIVALENCE_MARGIN

ROUNDS = 20  # of the baselines, for a ratio
DRIFT_S = 60.0
PEERS_MARGIN = 0.03  # a device that differs so much from the others is worth a word


class FairClock:
    """The clock of one device for one plan.

    Args:
        measure: times the baselines: name -> median microseconds.
    """

    def __init__(self, measure: Callable[[], Mapping[str, float]], now: Callable[[], float] = time.monotonic):
        self._measure = measure
        self._now = now
        self._times_us: Mapping[str, float] | None = None
        self._measured_s = 0.0

    @property
    def times_us(self) -> Mapping[str, float]:
        """The baselines on this device."""
        if self._times_us is None:
            self._times_us, self._measured_s = self._measure(), self._now()
        return self._times_us

    def ratio(self, reference: Mapping[str, float]) -> float:
        """How much longer this device takes than the reference, as of the last minute."""
        before = ratio_of(self.times_us, reference)
        if self._now() - self._measured_s >= DRIFT_S:
            self._times_us = self._measure()
            if abs(ratio_of(self._times_us, reference) / before - 1) > PEERS_MARGIN:
                self._times_us = self._measure()
            self._measured_s = self._now()
        return ratio_of(self.times_us, reference)


def ratio_of(times_us: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """The median ratio of the baselines that both have; 1 where they have none, or where it makes no difference."""
    ratios = [time_us / reference[name] for name, time_us in times_us.items() if name in reference]
    ratio = statistics.median(ratios) if ratios else 1.0
    return ratio if abs(ratio - 1) > EQUIVALENCE_MARGIN else 1.0


def corrected(evaluation: Evaluation, device: str, ratio: float) -> Evaluation:
    """An evaluation on a device with the times that the reference would have taken."""
    changes: dict[str, object] = {"device": device}
    if ratio != 1.0:
        changes |= {"clock_ratio": ratio, "timings": tuple(_scaled(each, 1 / ratio) for each in evaluation.timings)}
    return evaluation.model_copy(update=changes)


def _scaled(timing: Timing, factor: float) -> Timing:
    times = {name: getattr(timing, name) * factor for name in ("p50_us", "p90_us", "p99_us")}
    return timing.model_copy(update={**times, "samples": tuple(each * factor for each in timing.samples)})


def off_peers(ratios: Mapping[str, float]) -> dict[str, float]:
    """The devices that differ from the median by more than `PEERS_MARGIN`, with that ratio; of two the slower one."""
    middle = statistics.median_low(ratios.values()) if ratios else 1.0
    return {device: ratio / middle for device, ratio in ratios.items() if abs(ratio / middle - 1) > PEERS_MARGIN}


def words_of(device: str, against: float) -> str:
    """What is told of such a device."""
    word = "slower" if against > 1 else "faster"
    return f"{device} is {abs(against - 1):.1%} {word} than its peers; its times are corrected by its baselines"


def differences(finals: Finals, name: Callable[[int], Any] = lambda index: index) -> list[str]:
    """Where other devices come to other finals than the first: another winner, or a time that is not the winner's.

    Args:
        name: what a candidate is called, by its number in the run.
    """
    found: list[str] = []
    home, here = finals.winner, finals.conditions.device
    for other in finals.elsewhere:
        there, winner = other.conditions.device, other.winner
        if home is None or home.time is None:
            found += [f"candidate {name(winner.index)} passes on {there}, but none on {here}"] if winner else []
            continue
        own = next((each for each in other.finalists if each.index == home.index), None)
        if own is None or own.time is None or winner is None or winner.time is None:
            found.append(f"candidate {name(home.index)} does not pass on {there}{_reason(own)}")
            continue
        if winner.index != home.index:
            ahead = own.time.p50_us / winner.time.p50_us - 1
            how = f"{ahead:.1%} faster than" if ahead > EQUIVALENCE_MARGIN else "as fast as"
            found.append(
                f"{there} has another winner: candidate {name(winner.index)}, there {how} candidate {name(home.index)}"
            )
        longer = own.time.p50_us / home.time.p50_us - 1
        if abs(longer) > PEERS_MARGIN:
            word = "longer" if longer > 0 else "less"
            found.append(f"candidate {name(home.index)} takes {abs(longer):.1%} {word} on {there} than on {here}")
    return found


def _reason(final: Final | None) -> str:
    return f": {final.reason}" if final is not None and final.reason else ""
