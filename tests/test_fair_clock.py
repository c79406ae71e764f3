"""Times on several devices, as if one had taken them all."""

import pytest

from evoflash.core.finals import Final, Finals, contestant
from evoflash.core.statistics import EQUIVALENCE_MARGIN
from evoflash.core.status import Status
from evoflash.run.fair_clock import DRIFT_S, FairClock, corrected, differences, off_peers, ratio_of
from tests.helpers import right

REFERENCE = {"sdpa": 30.0, "math": 100.0, "compile": 50.0}


def test_a_ratio_is_the_median_over_the_baselines_that_both_have():
    assert ratio_of({"sdpa": 31.5, "math": 110.0, "compile": 50.5, "other": 1.0}, REFERENCE) == pytest.approx(1.05)
    assert ratio_of({"other": 1.0}, REFERENCE) == 1.0
    assert ratio_of({"sdpa": 30.0 * (1 + 0.9 * EQUIVALENCE_MARGIN)}, REFERENCE) == 1.0
    assert ratio_of({"sdpa": 30.0 * (1 - 1.1 * EQUIVALENCE_MARGIN)}, REFERENCE) < 1.0


def test_times_are_corrected_and_can_be_told_as_they_were():
    found = corrected(right(10.0), "cuda:1", 1.25)
    assert (found.device, found.clock_ratio, found.fitness_us) == ("cuda:1", 1.25, 8.0)
    (timing,) = found.timings
    assert (timing.p90_us, timing.p99_us, timing.samples) == (8.0, 8.0, (8.0,))
    assert found.fitness_us * found.clock_ratio == 10.0
    assert corrected(right(10.0), "cuda:0", 1.0) == right(10.0, device="cuda:0")


class Device:
    """A device whose clock can be set, and the time as well."""

    def __init__(self):
        self.scale, self.at, self.measured = 1.0, 0.0, 0
        self.odd: list[float] = []  # measurements that go wrong
        self.clock = FairClock(self._measure, lambda: self.at)

    def _measure(self):
        self.measured += 1
        scale = self.odd.pop(0) if self.odd else self.scale
        return {name: scale * each for name, each in REFERENCE.items()}


def test_a_clock_is_measured_once_and_again_when_it_may_have_drifted():
    device = Device()
    assert [device.clock.ratio(REFERENCE) for _ in range(3)] == [1.0] * 3
    assert device.measured == 1
    device.scale, device.at = 1.02, 0.9 * DRIFT_S
    assert device.clock.ratio(REFERENCE) == 1.0
    device.at = 1.1 * DRIFT_S
    assert device.clock.ratio(REFERENCE) == pytest.approx(1.02)
    assert device.measured == 2


def test_a_leap_is_believed_only_the_second_time():
    device = Device()
    device.clock.ratio(REFERENCE)
    device.at, device.odd = 1.1 * DRIFT_S, [2.0]
    assert device.clock.ratio(REFERENCE) == 1.0
    assert device.measured == 3
    device.at, device.scale = 2.2 * DRIFT_S, 1.5
    assert device.clock.ratio(REFERENCE) == 1.5


def test_a_device_off_its_peers_is_found():
    assert off_peers({"cuda:0": 1.0}) == {}
    assert off_peers({"cuda:0": 1.0, "cuda:1": 1.02, "cuda:2": 0.99}) == {}
    assert off_peers({"cuda:0": 1.0, "cuda:1": 1.05, "cuda:2": 1.01}) == {"cuda:1": pytest.approx(1.05 / 1.01)}
    assert off_peers({"cuda:0": 1.0, "cuda:1": 1.05}) == {"cuda:1": 1.05}
    assert off_peers({}) == {}


def held(device: str, times_us: dict[int, float], wrong: dict[int, str] | None = None) -> Finals:
    passed = [
        Final(index=index, status=Status.OK, time=contestant(f"candidate {index}", [time_us] * 2))
        for index, time_us in times_us.items()
    ]
    fallen = [Final(index=index, status=Status.WRONG, reason=reason) for index, reason in (wrong or {}).items()]
    return Finals(finalists=(*passed, *fallen), baselines=(), rounds=2).on(device)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (held("cuda:1", {4: 10.2, 7: 11.0}), []),
        (held("cuda:1", {4: 9.0, 7: 11.0}), ["candidate 4 takes 10.0% less on cuda:1 than on cuda:0"]),
        (
            held("cuda:1", {7: 10.0, 4: 10.1}),
            ["cuda:1 has another winner: candidate 7, there 1.0% faster than candidate 4"],
        ),
        (
            held("cuda:1", {7: 10.0, 4: 10.0}),
            ["cuda:1 has another winner: candidate 7, there as fast as candidate 4"],
        ),
        (held("cuda:1", {7: 10.0}, {4: "it differs"}), ["candidate 4 does not pass on cuda:1: it differs"]),
        (held("cuda:1", {}, {7: "a fault", 4: "it hangs"}), ["candidate 4 does not pass on cuda:1: it hangs"]),
    ],
)
def test_where_finals_differ_it_is_told(there, words):
    home = held("cuda:0", {4: 10.0, 7: 11.0})
    assert differences(home.model_copy(update={"elsewhere": (there,)})) == words


def test_a_kernel_that_passes_elsewhere_alone_is_told():
    home = held("cuda:0", {}, {4: "it differs", 7: "it hangs"})
    there = (held("cuda:1", {}, {4: "it differs"}), held("cuda:2", {7: 10.0}))
    assert differences(home.model_copy(update={"elsewhere": there}), lambda index: f"#{index}") == [
        "candidate #7 passes on cuda:2, but none on cuda:0"
    ]
