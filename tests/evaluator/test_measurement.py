"""Measurement that can be believed: floors, ties, held-back devices, and the timing's test of itself."""

import itertools
import random
import threading
from typing import Any, cast

import pytest

from evoflash.core.evaluation import Timing
from evoflash.core.finals import Contestant
from evoflash.core.reliability import Reliability
from evoflash.core.statistics import Ratio
from evoflash.core.status import Gate, Status
from evoflash.evaluator.floor import floor_us, reject_below_floor
from evoflash.evaluator.messages import Examined, Raced, Verified
from evoflash.evaluator.ranking import rank
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cpu, cuda
from evoflash.targets.cuda import CudaTarget
from evoflash.worker import clock, race, timing
from evoflash.worker.clock import CpuClock, Disturbances
from evoflash.worker.core_waits import CoreWaits
from evoflash.worker.device_monitor import DeviceState, summary, was_throttled
from evoflash.worker.race import MAX_ROUNDS_FACTOR, interleave, prepare
from evoflash.worker.rounds import THROTTLED_STREAK
from evoflash.worker.self_test import MIN_TRIALS, self_test
from evoflash.worker.timing import MIN_SAMPLES, measure

MISSION = AttentionProblem.of(1, 8, 512, 64)
H200 = CudaTarget("H200", cuda.of_arch("sm_90a").facts, {"max_sm_clock_mhz": 1980})


def test_no_time_on_record_is_below_the_floor():
    """Best times of docs/results: mission 3.83 us, bert 25.65, d128_1k 16.6 on H200s; an empty launch takes 0.85."""
    bert = AttentionProblem.of(8, 16, 512, 64)
    d128 = AttentionProblem.of(1, 16, 1024, 128, dtype="bfloat16", causal=True)
    for problem, best in ((MISSION, 3.73), (bert, 25.65), (d128, 16.17)):
        assert 0.5 < floor_us(problem, H200, {"empty_launch_us": 0.85}) < best
    assert floor_us(bert, H200, {}) == pytest.approx(8.03, abs=0.01)  # 8.6 GFLOP at 1,070 TFLOP/s, at the largest clock
    assert floor_us(MISSION, H200, {"empty_launch_us": 2.0}) == pytest.approx(1.6)
    assert floor_us(MISSION, cpu.detect(), {}) > 1


def test_a_time_below_the_floor_is_no_success():
    def examined(p50):
        timing = Timing(regime="warm", p50_us=p50, p90_us=p50, p99_us=p50, launches=1)
        return Examined(status=Status.OK, timings=(timing,))

    assert reject_below_floor(examined(3.0), 1.0).status is Status.OK
    refused = reject_below_floor(examined(0.5), 1.0)
    assert (refused.status, refused.gate) == (Status.MISMEASURED, Gate.FLOOR)
    assert "0.5 us is less than 1 us" in refused.reason


@pytest.mark.parametrize(
    ("first", "nodes", "is_complete"), [(1, 40, True), (2, 80, True), (0, 0, False), (1, 27, False), (2, 79, False)]
)
def test_a_graph_in_which_launches_are_missing_is_told(first, nodes, is_complete):
    watch = object.__new__(clock.CudaClock)  # which needs a GPU for nothing but its events
    assert watch.is_complete(clock.CapturedGraph(None, 40, first, nodes)) is is_complete


def raced(**medians):
    """Contestants with a common noise, as interleaved rounds have it, and some of their own."""
    rng = random.Random(0)
    common = [1 + 0.1 * rng.random() for _ in range(40)]
    contestants = []
    for name, median in medians.items():
        samples = tuple(median * noise * (1 + 0.01 * (rng.random() - 0.5)) for noise in common)
        middle = sorted(samples)[20]
        title = name.replace("_", " ")
        contestants.append(Contestant(name=title, p50_us=middle, p90_us=middle, p99_us=middle, samples=samples))
    return Raced(contestants=tuple(contestants))


def test_what_is_clearly_faster_wins():
    passed = {1: Verified(status=Status.OK), 2: Verified(status=Status.OK)}
    finals = rank(passed, {1: (9,), 2: (1,)}, raced(candidate_1=4.0, candidate_2=4.1, eager=8.0), "sdpa-math")
    assert finals.winner is not None
    assert (finals.winner.index, finals.winner.reason) == (1, "")
    assert finals.finalists[1].reason == ""


def test_of_those_that_are_tied_the_simplest_wins():
    passed = {index: Verified(status=Status.OK) for index in (1, 2, 3)}
    times = raced(candidate_1=4.0, candidate_2=4.001, candidate_3=5.0, eager=8.0)
    finals = rank(passed, {1: (0, 9), 2: (0, 1), 3: (0, 0)}, times, "sdpa-math")
    assert [each.index for each in finals.finalists] == [2, 1, 3]
    assert finals.winner is not None
    assert finals.winner.index == 2
    assert "tied with the fastest: 1.00" in finals.winner.reason
    assert "simplest" in finals.winner.reason
    equal = rank(passed, dict.fromkeys((1, 2, 3), (0,)), times, "sdpa-math")
    assert equal.winner is not None
    assert equal.winner.index == 1


def test_whoever_failed_does_not_win_by_being_fast():
    verdicts = {1: Verified(status=Status.WRONG, reason="wrong"), 2: Verified(status=Status.OK)}
    finals = rank(verdicts, {1: (), 2: ()}, raced(candidate_1=1.0, candidate_2=4.0), "sdpa-math")
    assert finals.winner is not None
    assert finals.winner.index == 2


class Clock:
    """Samples from a list of calls that answer their time; a launch takes what its call says."""

    max_sampling_s = 10.0
    disturbances = Disturbances()

    def __init__(self, noise=0.0):
        self.rng, self.noise = random.Random(1), noise

    def capture(self, calls, launches):
        return calls, launches

    def sample(self, captured, before=None):
        return float(captured[0][0]() or 10.0) * (1 + self.noise * self.rng.gauss(0, 1))

    def launches(self, estimate_us, calls):
        return calls


def test_a_round_in_which_the_device_was_held_back_is_held_again():
    states = itertools.cycle(
        [DeviceState(1900, 40), DeviceState(1900, 41), DeviceState(1200, 80, is_throttled=True), DeviceState(1200, 80)]
    )

    class DeviceMonitor:
        def read(self):
            return next(states)

    done = interleave(Clock(), {"a": prepare(Clock(), [lambda: 1.0])}, 4, warmup=0, monitor=DeviceMonitor())
    assert len(done.samples["a"]) == 4
    assert done.conditions.thrown_away == 3
    assert done.conditions.clock_mhz == (1900, 1900, 1900)
    assert done.conditions.temperature_c == (41, 41)
    assert "3 throttled rounds discarded" in str(done.conditions)


def test_a_device_that_is_always_held_back_does_not_hold_up_the_race():
    class DeviceMonitor:
        def read(self):
            return DeviceState(1200, 80, is_throttled=True)

    done = interleave(Clock(), {"a": prepare(Clock(), [lambda: 1.0])}, 9, warmup=0, monitor=DeviceMonitor())
    assert (len(done.samples["a"]), done.conditions.thrown_away, done.conditions.held_back) == (9, THROTTLED_STREAK, 9)
    assert "9 throttled rounds kept" in str(done.conditions)


def test_a_baseline_without_memory_is_out_alone_and_by_name():
    class OutOfMemoryError(RuntimeError):
        """As torch.OutOfMemoryError is called."""

    calls = itertools.count()

    def grows() -> float:
        if next(calls) >= 7:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 34 GiB.\nOf the allocated …")
        return 5.0

    racing = {"a": prepare(Clock(), [lambda: 1.0]), "big": prepare(Clock(), [grows])}
    done = interleave(Clock(), racing, 6, warmup=0, optional=["big"])
    assert done.out == {"big": "CUDA out of memory. Tried to allocate 34 GiB."}
    assert done.samples.keys() == {"a"}
    assert len(done.samples["a"]) == 6
    with pytest.raises(OutOfMemoryError):
        interleave(Clock(), {"a": racing["a"], "big": racing["big"]}, 6, warmup=0)


def test_another_failure_of_a_baseline_stops_the_race():
    racing = {"a": prepare(Clock(), [lambda: 1.0])}

    def fails() -> float:
        raise RuntimeError("an illegal address")

    racing["b"] = race.PreparedCalls([fails], None, 1)
    with pytest.raises(RuntimeError, match="illegal"):
        interleave(Clock(), racing, 6, warmup=0, optional=["b"])


def test_a_sample_on_a_machine_that_becomes_busy_ends_early(monkeypatch: pytest.MonkeyPatch):
    now = itertools.count(step=1_000_000)  # a millisecond between two looks at the time, then a second
    clock = CpuClock()
    clock._waits = cast(Any, Waits(*[None] * 4))
    launches = []
    captured = clock.capture([lambda: launches.append(1)], 400)
    monkeypatch.setattr("evoflash.worker.clock.time.perf_counter_ns", lambda: next(now))
    assert clock.sample(captured) == pytest.approx(1000 * 13 / 400)  # 13 chunks, a millisecond each
    assert len(launches) == 400
    launches.clear()
    now = itertools.count(step=1_000_000_000)
    assert clock.sample(captured) == pytest.approx(1e6 / clock.CHUNK)
    assert len(launches) == clock.CHUNK


class Waits:
    """Waiting, in microseconds, of each next look at a clock's counters."""

    def __init__(self, *waited_us: float | None):
        self._waited_us = iter(waited_us)

    def read_us(self) -> float | None:
        return next(self._waited_us)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch):
    """A clock whose tries take a millisecond more each time, and wait as one says; it naps in no time."""

    def make(*waits_us: float) -> CpuClock:
        clock = CpuClock()
        looks = [each for waited in waits_us for each in (0.0, waited)]
        clock._waits = cast(Any, Waits(*looks))
        starts = itertools.chain.from_iterable((0, 1_000_000 * number) for number in itertools.count(1))
        monkeypatch.setattr("evoflash.worker.clock.time.perf_counter_ns", lambda: next(starts))
        monkeypatch.setattr("evoflash.worker.clock.time.sleep", naps.append)
        return clock

    naps: list[float] = []
    make.naps = naps
    return make


def test_an_undisturbed_sample_is_taken_once(busy):
    clock = busy(39.0)
    assert clock.sample([lambda: None]) == 1000.0
    assert clock.disturbances == Disturbances(samples=1)
    assert busy.naps == []


def test_a_disturbed_sample_is_taken_again_after_a_nap(busy):
    clock = busy(500.0, 900.0, 100.0)  # of 1, 2 and 3 ms; the last is undisturbed
    assert clock.sample([lambda: None]) == 3000.0
    assert clock.disturbances == Disturbances(samples=1, retakes=2)
    assert busy.naps == [0.004, 0.016]


def test_of_tries_in_vain_the_least_disturbed_counts_and_fewer_follow(busy):
    most, fewest = len(CpuClock.NAPS_S), CpuClock.FEWEST_NAPS
    first = [900.0, 400.0, *[9e9] * (most - 1)]  # the second, of 2 ms, is disturbed least
    clock = busy(*first, *[9e9] * 100)
    assert clock.sample([lambda: None]) == 2000.0
    assert clock.disturbances == Disturbances(samples=1, retakes=most, kept=1)
    retakes = []
    for _ in range(4):
        before = clock.disturbances
        clock.sample([lambda: None])
        retakes.append(clock.disturbances.since(before).retakes)
    assert retakes == [most // 2, fewest, fewest, fewest]


def test_threads_are_woken_before_a_retake_unless_a_launch_takes_long(busy):
    launches = []
    clock = busy(500.0, 0.0)
    clock.sample([lambda: launches.append("short")] * 10)  # of 100 us
    assert len(launches) == 10 + 1 + 10
    launches.clear()
    busy(500.0, 0.0).sample([lambda: launches.append("long")])  # of a millisecond
    assert len(launches) == 2


def test_a_sample_of_long_launches_is_not_tried_for_ever(busy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CpuClock, "PATIENCE_US", 4500.0)
    clock = busy(*[9e9] * 100)  # tries take 1 ms, then 2, 3 …
    clock.sample([lambda: None])
    assert clock.disturbances == Disturbances(samples=1, retakes=2, kept=1)


def test_waits_are_read_from_the_system():
    waits = CoreWaits()
    first = waits.read_us()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    second = waits.read_us()
    assert first is None or (second is not None and second >= first >= 0)
    waits.close()


def test_where_waits_are_not_known_samples_are_taken_once_and_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CoreWaits, "FOLDER", "/nowhere")
    clock = CpuClock()
    clock.sample([lambda: None])
    assert clock.disturbances == Disturbances()


def test_the_conditions_of_a_race_say_how_many_samples_were_disturbed(busy):
    clock = busy(*[9e9] * 500)
    calls = race.PreparedCalls([lambda: None], [lambda: None], 1)
    conditions = interleave(clock, {"a": calls, "b": calls}, 3, warmup=0).conditions
    assert (conditions.samples, conditions.disturbed) == (6, 6)
    assert "6 of 6 samples disturbed by other programs" in str(conditions)
    assert "disturbed 100% of the samples" in conditions.doubt
    quiet = busy(*[0.0] * 500)
    conditions = interleave(quiet, {"a": calls}, 3, warmup=0).conditions
    assert (conditions.samples, conditions.disturbed, conditions.doubt) == (3, 0, "")
    assert "disturbed" not in str(conditions)


def rounds_of(seconds_a_round, difference=0.0, noise=0.02, spare_s=60.0):
    """Rounds of two contestants of whom four rounds are wanted, and what is known of them then."""
    watch = Clock(noise)
    racing = {"a": prepare(watch, [lambda: 10.0]), "b": prepare(watch, [lambda: 10.0 * (1 + difference)])}
    now = itertools.count(step=seconds_a_round)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race.time, "monotonic", lambda: next(now))
        return len(interleave(watch, racing, 4, spare_s=spare_s, compared=["a", "b"]).samples["a"])


def test_kernels_that_cannot_be_told_apart_get_more_rounds_while_there_is_time():
    assert rounds_of(0.01) == 4 * MAX_ROUNDS_FACTOR
    assert rounds_of(0.01, difference=0.5) == 4
    assert rounds_of(0.01, noise=0.0001) == 4
    assert 4 < rounds_of(1.0, spare_s=24) < 4 * MAX_ROUNDS_FACTOR
    assert rounds_of(0.01, spare_s=0) == 4


@pytest.mark.parametrize(
    ("low", "high", "told", "settled"),
    [
        (1.01, 1.02, True, True),
        (0.98, 0.99, True, True),
        (1.001, 1.002, False, True),  # two copies of one kernel may lie so
        (1.001, 1.02, False, False),
        (0.99, 1.01, False, False),
    ],
)
def test_what_a_ratio_tells(low, high, told, settled):
    ratio = Ratio(value=(low + high) / 2, low=low, high=high)
    assert (ratio.is_significant, ratio.is_settled) == (told, settled)


def test_slow_kernels_are_sampled_less_often_but_often_enough(monkeypatch):
    def count(seconds_per_sample):  # by the clock, which is not read before the minimum has been taken
        now = itertools.count(step=seconds_per_sample)
        monkeypatch.setattr(timing.time, "monotonic", lambda: next(now))
        done = measure(Clock(), [lambda: 1.0], samples=100, quick_samples=3, best_us=None)
        return len(done.timing.samples)

    assert [count(each) for each in (0.01, 0.25, 20.0)] == [100, MIN_SAMPLES + 39, MIN_SAMPLES]


def test_counters_of_throttling_count_by_their_growth():
    assert not was_throttled(DeviceState(throttle_count=7), DeviceState(throttle_count=7))
    assert was_throttled(DeviceState(throttle_count=7), DeviceState(throttle_count=8))
    assert not was_throttled(None, DeviceState(is_throttled=True))
    assert summary([DeviceState()], 0, 0).clock_mhz is None


@pytest.mark.parametrize(("noise", "told"), [(0.002, True), (0.2, False)])
def test_the_self_test_tells_two_percent_from_nothing_where_the_noise_allows(noise, told):
    found = self_test(Clock(noise), [lambda: 10.0], [lambda: 10.0], trials=40, rounds=40, seed=0, budget_s=60)
    judged = Reliability.of("it", found)
    assert (judged.trials, judged.rounds, judged.launches) == (40, 40, 50)
    assert judged.false_alarms <= 6
    assert (judged.detected >= 38) == told
    assert judged.sound == told
    assert judged.detected_interval[0] <= judged.detected / 40 <= judged.detected_interval[1]


def test_the_self_test_says_when_it_sees_what_is_not_there():
    """The second copy is always slower, as if it lay badly in memory."""
    found = self_test(Clock(0.001), [lambda: 10.0], [lambda: 10.1], trials=20, rounds=20, seed=0, budget_s=0)
    assert len(found.same) == MIN_TRIALS
    judged = Reliability.of("it", found)
    assert not judged.sound
    assert "false alarms" in judged.verdict
