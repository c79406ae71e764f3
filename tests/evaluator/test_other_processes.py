"""Other processes on a GPU: whether a race notices them, on a made-up machine and on a GPU."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from evoflash.core.finals import Conditions
from evoflash.worker import other_processes, race, rounds
from evoflash.worker.clock import CudaClock, Disturbances
from evoflash.worker.other_processes import LATEST_S, MOST_USE, OtherProcesses, Use
from evoflash.worker.race import PreparedCalls, interleave

SAMPLE_S = 0.005
QUIET_US, DISTURBED_US = 10.0, 30.0
NEIGHBOUR = 4711


class Machine:
    """A GPU whose time passes only in samples and sleep; it is `time`, NVML, and the clock of a race in one.

    Args:
        neighbour: the percentage of a moment, in seconds since the start, in which another process computes.
        period_s, late_s: of NVML's samples.
        own: the id that the samples have for this process; another one in a container.
        error: NVML's code in place of samples.
    """

    START_S = 1_800_000_000.0
    NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_FOUND, NVML_ERROR_INSUFFICIENT_SIZE = 0, 3, 6, 7
    max_sampling_s = 1.0
    disturbances = Disturbances()
    names: ClassVar[dict[int, str]] = {NEIGHBOUR: "/usr/bin/python3 train.py"}

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            self.value = value

    def __init__(
        self,
        neighbour: Callable[[float], int] = lambda moment_s: 0,
        *,
        period_s: float = 0.2,
        late_s: float = 0.0,
        own: int = os.getpid(),
        error: int | None = None,
    ) -> None:
        self.now_s = self.START_S
        self.asked = 0
        self.worked_s: list[float] = []
        self._neighbour, self._period_s, self._late_s = neighbour, period_s, late_s
        self._own, self._error = own, error

    def time(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def sample(self, captured: Any, before: Any = None) -> float:
        self.worked_s.append(self.now_s)
        is_disturbed = self._neighbour(self.now_s - self.START_S) > 0
        self.now_s += SAMPLE_S
        return DISTURBED_US if is_disturbed else QUIET_US

    def capture(self, calls: Any, launches: int) -> Any:
        return calls

    def is_complete(self, captured: Any) -> bool:
        return True

    def launches(self, estimate_us: float, calls: int) -> int:
        return calls

    def nvmlDeviceGetProcessUtilization(self, handle: Any, seen_us: int) -> list[Any]:  # noqa: N802
        self.asked += 1
        if self._error is not None:
            raise self.NVMLError(self._error)
        found = []
        periods = int((self.now_s - self._late_s - self.START_S) / self._period_s + 1e-6)
        for number in range(periods):
            start_s = number * self._period_s
            end_us = round((self.START_S + start_s + self._period_s) * 1e6)
            if end_us <= seen_us:
                continue
            moments = [start_s + share / 10 * self._period_s for share in range(10)]
            others = round(statistics.fmean(map(self._neighbour, moments)))
            own = 40 * any(start_s <= each - self.START_S < start_s + self._period_s for each in self.worked_s)
            found += [
                SimpleNamespace(pid=pid, timeStamp=end_us, smUtil=percent)
                for pid, percent in ((self._own, own), (NEIGHBOUR, others))
                if percent
            ]
        if not found:
            raise self.NVMLError(self.NVML_ERROR_NOT_FOUND)
        return [*found, SimpleNamespace(pid=0, timeStamp=0, smUtil=0)]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=NEIGHBOUR)]

    def nvmlSystemGetProcessName(self, number: int) -> str:  # noqa: N802
        return self.names[number]


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch):
    """Races contestants on a machine."""
    calls = PreparedCalls([lambda: None], [], 1)

    def run(
        machine: Machine,
        wanted: int = 20,
        contestants: Mapping[str, PreparedCalls] = MappingProxyType({"a": calls, "b": calls}),
        **options: Any,
    ) -> race.InterleavedSamples:
        for module in (race, other_processes):
            monkeypatch.setattr(module, "time", machine)
        watch = OtherProcesses(machine, None)
        return interleave(machine, contestants, wanted, warmup=1, others=watch, **options)

    return run


def test_alone_every_round_counts(racing):
    machine = Machine()
    raced = racing(machine)
    assert {name: len(samples) for name, samples in raced.samples.items()} == {"a": 20, "b": 20}
    conditions = raced.conditions
    assert (conditions.samples, conditions.retaken, conditions.disturbed, conditions.others) == (40, 0, 0, ())
    assert conditions.doubt == ""
    assert "other programs" not in str(conditions)
    assert machine.now_s - machine.START_S < 0.5


@pytest.mark.parametrize("own", [os.getpid(), 99], ids=["by its number", "in a container"])
@pytest.mark.parametrize("late_s", [0.0, 0.7])
def test_rounds_beside_another_process_are_held_again(racing, own, late_s):
    machine = Machine(lambda moment_s: 80 if moment_s < 0.4 else 0, own=own, late_s=late_s)
    raced = racing(machine, 60)
    assert len(raced.samples["a"]) == 60
    assert set(raced.samples["a"]) == {QUIET_US}
    conditions = raced.conditions
    assert conditions.samples == 120
    assert conditions.retaken >= 2 * 0.35 / (2 * SAMPLE_S)
    assert (conditions.disturbed, conditions.doubt) == (0, "")
    assert f"samples disturbed by other programs (python3, process {NEIGHBOUR})" in str(conditions)


def test_a_process_that_is_always_there_is_said_in_time(racing):
    machine = Machine(lambda moment_s: 100)
    raced = racing(machine)
    assert len(raced.samples["a"]) == 20
    conditions = raced.conditions
    assert (conditions.samples, conditions.disturbed) == (40, 40)
    assert conditions.retaken <= 40
    assert conditions.doubt.startswith(f"other programs (python3, process {NEIGHBOUR}) disturbed 100% of the samples")
    assert machine.now_s - machine.START_S < 1.0


def test_in_the_spare_time_a_race_waits_for_a_process_to_end(racing):
    ends_s = 3.0
    raced = racing(Machine(lambda moment_s: 100 if moment_s < ends_s else 0), spare_s=10.0)
    assert set(raced.samples["a"]) == {QUIET_US}
    assert raced.conditions.disturbed == 0
    machine = Machine(lambda moment_s: 100)
    assert racing(machine, 10, spare_s=2.0).conditions.disturbed == 20
    assert machine.now_s - machine.START_S < 3.0


def test_too_few_quiet_rounds_are_filled_up(racing):
    raced = racing(Machine(lambda moment_s: 0 if moment_s < 0.2 else 90), 30)
    quiet = raced.samples["a"].count(QUIET_US)
    assert 10 <= quiet < 30
    assert len(raced.samples["a"]) == 30
    assert 2 * (30 - quiet) <= raced.conditions.disturbed <= 2 * (31 - quiet)  # one is in two of NVML's periods
    assert "disturbed" in raced.conditions.doubt


def test_the_budget_ends_a_race_beside_another_process(racing):
    machine = Machine(lambda moment_s: 100)
    raced = racing(machine, 1000, budget_s=0.5)
    assert 3 <= len(raced.samples["a"]) < 60
    assert raced.conditions.disturbed == raced.conditions.samples
    assert machine.now_s - machine.START_S < 1.0


def test_a_little_use_disturbs_no_round(racing):
    conditions = racing(Machine(lambda moment_s: MOST_USE)).conditions
    assert (conditions.samples, conditions.retaken, conditions.others) == (40, 0, ())


@pytest.mark.parametrize("error", [Machine.NVML_ERROR_NOT_SUPPORTED, Machine.NVML_ERROR_NOT_FOUND])
def test_where_nvml_does_not_tell_nothing_is_known(racing, error):
    machine = Machine(lambda moment_s: 100, error=error)
    raced = racing(machine)
    assert len(raced.samples["a"]) == 20
    assert (raced.conditions.samples, raced.conditions.disturbed, raced.conditions.doubt) == (0, 0, "")
    assert "not known whether other programs disturbed the samples" in str(raced.conditions)
    assert machine.now_s - machine.START_S < LATEST_S + 0.5


def test_a_driver_that_tells_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(error=Machine.NVML_ERROR_NOT_FOUND)
    monkeypatch.setattr(other_processes, "time", machine)
    watch = OtherProcesses(machine, None)
    start_s = machine.now_s
    assert watch.use(start_s, start_s + 0.1) is Use.NOT_YET_KNOWN
    machine.sleep(LATEST_S + 0.2)
    assert watch.use(start_s, start_s + 0.1) is Use.NOT_KNOWN
    watch.restart()
    assert watch.use(machine.now_s, machine.now_s + 0.1) is Use.NOT_KNOWN
    asked = machine.asked
    machine.sleep(1.0)
    assert watch.use(machine.now_s, machine.now_s) is Use.NOT_KNOWN
    assert machine.asked == asked


def test_a_sample_of_long_ago_tells_nothing_of_now(monkeypatch: pytest.MonkeyPatch):
    machine = Machine(late_s=LATEST_S + 1)
    monkeypatch.setattr(other_processes, "time", machine)
    watch = OtherProcesses(machine, None)
    machine.sample(None)
    start_s = machine.now_s
    machine.sleep(LATEST_S + 0.1)
    assert watch.use(start_s, start_s + 0.1) is Use.NOT_YET_KNOWN
    machine.sleep(0.1)
    assert watch.use(start_s, start_s + 0.1) is Use.NOT_KNOWN


def test_another_process_disturbs_a_device_that_is_always_throttled():
    class Busy:
        names: ClassVar[set[str]] = set()

        def use(self, start_s: float, end_s: float) -> Use:
            return Use.SOME

    held: Any = rounds.Rounds(9, Busy())  # type: ignore[arg-type]
    while len(held) + held.set_aside < 9:
        held.add(rounds.Round({"a": 1.0}, 0.0, 1.0, None, is_throttled=True))
        held.judge()
    conditions = held.conditions(1)
    assert (conditions.thrown_away, conditions.held_back, conditions.disturbed) == (rounds.THROTTLED_STREAK, 9, 9)


def test_a_race_ends_when_nobody_is_left(racing):
    class OutOfMemoryError(RuntimeError):
        """As torch.OutOfMemoryError is called."""

    def grow() -> None:
        raise OutOfMemoryError("CUDA out of memory.")

    calls = PreparedCalls([grow], [], 1)
    raced = racing(Machine(), contestants={"big": calls}, optional=["big"])
    assert (raced.samples, raced.out) == ({}, {"big": "CUDA out of memory."})


def test_conditions_that_early_versions_stored_are_read():
    assert Conditions.model_validate({"samples": 4, "retaken": 1, "disturbed": 4}).others == ()


ENDLESS_MATMULS = """
import torch

a = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
rounds = 0
while True:
    for _ in range(20):
        a @ a
    torch.cuda.synchronize()
    rounds += 1
    if rounds == 100:  # cuBLAS is loaded by now, and NVML has a sample of this process
        print("ready", flush=True)
"""


@pytest.mark.gpu
def test_a_race_notices_another_process_on_the_gpu(monkeypatch: pytest.MonkeyPatch):
    import torch

    watch = other_processes.other_processes("cuda")
    assert watch is not None
    nvml: Any = watch._nvml
    ask = nvml.nvmlDeviceGetProcessUtilization

    def tell(handle: Any, seen_us: int) -> list[Any]:
        try:
            found = ask(handle, seen_us)
        except nvml.NVMLError as error:
            print(f"{time.time():.3f} since {seen_us / 1e6:.3f}: {error}")
            raise
        samples = [f"{each.pid}: {each.smUtil} % at {each.timeStamp / 1e6:.3f}" for each in found]
        print(f"{time.time():.3f} since {seen_us / 1e6:.3f}: {', '.join(samples)}")
        return found

    monkeypatch.setattr(nvml, "nvmlDeviceGetProcessUtilization", tell)
    matrix = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)
    clock = CudaClock()
    racing = {name: race.prepare(clock, [lambda: matrix @ matrix]) for name in ("a", "b")}

    def raced(title: str) -> Conditions:
        print(f"{title}; this is process {os.getpid()}")
        found = interleave(clock, racing, 40, others=watch)
        print(found.conditions, {name: statistics.median(samples) for name, samples in found.samples.items()})
        return found.conditions

    time.sleep(1.5)  # NVML may sample a process that has just ended
    alone = raced("alone")
    with subprocess.Popen([sys.executable, "-c", ENDLESS_MATMULS], stdout=subprocess.PIPE, text=True) as neighbour:
        try:
            assert neighbour.stdout is not None
            assert neighbour.stdout.readline() == "ready\n"
            beside = raced(f"beside process {neighbour.pid}")
        finally:
            neighbour.kill()
    if alone.samples == 0:
        assert beside.samples == 0
        pytest.skip(f"the driver does not tell of processes: {alone}")
    assert (alone.samples, alone.disturbed, alone.doubt) == (80, 0, "")
    assert beside.disturbed > 0.5 * beside.samples
    assert "disturbed" in beside.doubt
