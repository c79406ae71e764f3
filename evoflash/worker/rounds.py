"""The rounds of a race, and which of them count."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from evoflash.core.finals import Conditions
from evoflash.worker.clock import Disturbances
from evoflash.worker.device_monitor import DeviceState, summary
from evoflash.worker.other_processes import OtherProcesses, Use

THROTTLED_STREAK = 5  # if this many rounds from the start are throttled, the device always is under this load


@dataclass(frozen=True)
class Round:
    """A round.

    Attributes:
        samples: one of each contestant, in microseconds per launch.
        start_s, end_s: when it began and ended, by `time.time`.
        state: the device's at its end; None where it is not known.
        is_throttled: whether the device was throttled in it.
    """

    samples: Mapping[str, float]
    start_s: float
    end_s: float
    state: DeviceState | None
    is_throttled: bool


class Rounds:
    """The rounds of a race, and which of them count.

    A throttled round is discarded; at most `wanted` are. If the first `THROTTLED_STREAK` rounds are all throttled, the
    device cannot run these kernels otherwise (a large kernel keeps a GPU at its power limit). From then on, throttled
    rounds count.

    A round in which other processes used the GPU is set aside. It counts only if there are fewer than `wanted` others.
    This is known only a while after the round, which is pending until then.

    Args:
        wanted: how many should count.
        others: tells of other processes; None where nothing is known of them.
    """

    def __init__(self, wanted: int, others: OtherProcesses | None) -> None:
        self._wanted = wanted
        self._others = others
        self._pending: deque[Round] = deque()
        self._quiet: list[Round] = []
        self._unknown: list[Round] = []
        self._disturbed: list[Round] = []
        self._thrown_away = 0

    def __len__(self) -> int:
        """How many will count if no pending one is disturbed."""
        return len(self._quiet) + len(self._unknown) + len(self._pending)

    @property
    def set_aside(self) -> int:
        """How many were disturbed."""
        return len(self._disturbed)

    @property
    def is_pending(self) -> bool:
        """Whether some are."""
        return bool(self._pending)

    @property
    def quickest_pending(self) -> str:
        """The contestant whose launches are shortest, by the first pending round."""
        samples = self._pending[0].samples
        return min(samples, key=lambda name: samples[name])

    def add(self, held: Round) -> None:
        """Adds a round, unless it is throttled and can be repeated."""
        if held.is_throttled and self._thrown_away < self._wanted and not self._is_always_throttled():
            self._thrown_away += 1
        else:
            self._pending.append(held)

    def judge(self) -> None:
        """Decides on the pending rounds, as far as it is known whether they were disturbed."""
        while self._pending and (use := self._use(self._pending[0])) is not Use.NOT_YET_KNOWN:
            decided = {Use.NONE: self._quiet, Use.SOME: self._disturbed, Use.NOT_KNOWN: self._unknown}
            decided[use].append(self._pending.popleft())

    def samples(self, names: Collection[str]) -> dict[str, list[float]]:
        """The samples of contestants in the rounds that count, or will if no pending one is disturbed."""
        counting = self._counting()
        return {name: [each.samples[name] for each in counting] for name in names}

    def conditions(self, contestants: int) -> Conditions:
        """The conditions over the rounds that count, for so many contestants."""
        counting = self._counting()
        states = [each.state for each in counting if each.state is not None]
        conditions = summary(states, self._thrown_away, sum(each.is_throttled for each in counting))
        if self._others is None:
            return conditions
        kept = self._disturbed_that_count()
        disturbances = Disturbances(
            samples=contestants * (len(self._quiet) + kept),
            retakes=contestants * (self.set_aside - kept),
            kept=contestants * kept,
        )
        return conditions.model_copy(update={**disturbances.counts(), "others": tuple(sorted(self._others.names))})

    def _use(self, held: Round) -> Use:
        return Use.NOT_KNOWN if self._others is None else self._others.use(held.start_s, held.end_s)

    def _is_always_throttled(self) -> bool:
        kept = (*self._pending, *self._quiet, *self._unknown, *self._disturbed)
        return self._thrown_away >= THROTTLED_STREAK and all(each.is_throttled for each in kept)

    def _disturbed_that_count(self) -> int:
        return min(self.set_aside, max(0, self._wanted - len(self)))

    def _counting(self) -> list[Round]:
        disturbed = self._disturbed[: self._disturbed_that_count()]
        return sorted((*self._quiet, *self._unknown, *self._pending, *disturbed), key=lambda each: each.start_s)
