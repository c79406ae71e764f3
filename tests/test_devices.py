"""Which GPUs a search takes, on a machine that a fake NVML makes up."""

import sys
from types import SimpleNamespace

import pytest

from evoflash import targets
from evoflash.bench.entrants import Kernel
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import BuildReport
from evoflash.errors import MissingError, UsageError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.device_lock import device_lock
from evoflash.export.calls import measure
from evoflash.export.runs import variables_of
from evoflash.profiling import Profiler, ncu
from evoflash.system import processes
from evoflash.targets import cuda, devices
from tests.helpers import PROBLEM

H100, A100 = ("NVIDIA H100", (9, 0), 132 * 128), ("NVIDIA A100", (8, 0), 108 * 64)


class FakeNvml:
    """A machine with GPUs: each a kind, and what differs from an idle one."""

    NVML_CLOCK_SM, NVML_DEVICE_MIG_ENABLE, NVML_TEMPERATURE_GPU = 1, 1, 0
    NVML_COMPUTEMODE_PROHIBITED, NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, NVML_COMPUTEMODE_EXCLUSIVE_THREAD = 2, 3, 1

    class NVMLError(Exception): ...

    def __init__(self, *gpus):
        self.gpus = [
            {"kind": kind, "uuid": f"GPU-{n}{n}", "mode": 0, "mig": 0, "pids": (), "busy": 0, **more}
            for n, (kind, more) in enumerate(gpus)
        ]
        self.nvmlInit = lambda: None
        self.nvmlDeviceGetCount = lambda: len(self.gpus)
        self.nvmlDeviceGetHandleByIndex = lambda number: self.gpus[number]
        self.nvmlDeviceGetUUID = lambda gpu: gpu["uuid"]
        self.nvmlDeviceGetName = lambda gpu: gpu["kind"][0]
        self.nvmlDeviceGetCudaComputeCapability = lambda gpu: gpu["kind"][1]
        self.nvmlDeviceGetNumGpuCores = lambda gpu: gpu["kind"][2]
        self.nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(total=80 << 30)
        self.nvmlDeviceGetMaxClockInfo = lambda gpu, which: 1980
        self.nvmlSystemGetDriverVersion = lambda: "580.1"
        self.nvmlDeviceGetComputeMode = lambda gpu: gpu["mode"]
        self.nvmlDeviceGetUtilizationRates = lambda gpu: SimpleNamespace(gpu=gpu["busy"])
        self.nvmlDeviceGetComputeRunningProcesses = lambda gpu: [SimpleNamespace(pid=pid) for pid in gpu["pids"]]
        self.nvmlSystemGetProcessName = lambda pid: "/usr/bin/python train.py"
        self.nvmlDeviceGetMigMode = self._partitions
        self.nvmlDeviceGetTemperature = lambda gpu, which: 61
        self.nvmlDeviceGetClockInfo = self._clock
        self.nvmlDeviceGetHandleByUUID = self._named
        self.nvmlDeviceGetDeviceHandleFromMigDeviceHandle = lambda part: self.gpus[part]

    def _named(self, uuid):
        """A device, or a part of the device whose number it ends in."""
        for gpu in self.gpus:
            if gpu["uuid"] == uuid:
                return gpu
        if not uuid.startswith("MIG-") or not uuid[-1:].isdecimal():
            raise self.NVMLError("not found")
        return int(uuid[-1])

    def _clock(self, gpu, which):
        if gpu["kind"] == A100:
            raise self.NVMLError("not supported")
        return 1755

    def _partitions(self, gpu):
        if gpu["kind"] == A100:
            raise self.NVMLError("not supported")
        return gpu["mig"], gpu["mig"]


@pytest.fixture
def machine(monkeypatch):
    def make(*gpus):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*gpus))
        return devices.visible()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


def numbers(choice):
    return [each.number for each in choice.taken]


def test_all_that_are_alike_and_idle_are_taken_and_one_line_says_why_others_are_not(machine):
    there = machine(
        (H100, {"pids": (7,)}),
        (H100, {}),
        (A100, {}),
        (H100, {"busy": 60}),
        (H100, {"mode": 2}),
        (H100, {"mig": 1}),
        (H100, {"mode": 3, "pids": (7,)}),
        (H100, {"mode": 3}),
    )
    choice = devices.choose(there)
    assert numbers(choice) == [1, 7]
    assert str(choice) == (
        "GPUs 1, 7 (NVIDIA H100)"
        "; not GPU 0 (NVIDIA H100): it is used by python (process 7)"
        "; not GPU 2 (NVIDIA A100): it is of another kind"
        "; not GPU 3 (NVIDIA H100): it is 60 % busy"
        "; not GPU 4 (NVIDIA H100): its compute mode is prohibited"
        "; not GPU 5 (NVIDIA H100): it is partitioned (MIG); name a part in CUDA_VISIBLE_DEVICES"
        "; not GPU 6 (NVIDIA H100): its compute mode is exclusive, and python (process 7) has it"
    )


def test_where_none_is_idle_the_first_is_shared(machine):
    choice = devices.choose(machine((H100, {"pids": (7,)}), (H100, {"busy": 99})))
    assert numbers(choice) == [0]
    assert choice.remarks == ("GPU 0: it is used by python (process 7)",)


@pytest.mark.parametrize(
    ("wanted", "taken"), [("2", [1, 2]), ("1", [1]), ("2,", [2]), ("0,2", [0, 2]), ("2,1,2", [2, 1])]
)
def test_devices_are_counted_or_named(machine, wanted, taken):
    there = machine((H100, {"busy": 50}), (H100, {}), (H100, {}))
    assert numbers(devices.choose(there, wanted)) == taken


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("0", "means nothing; write all, how many"),
        ("two", "means nothing; write all, how many"),
        ("-1", "means nothing; write all, how many"),
        ("0,3", "no such GPU; choose from: 0, 1, 2"),
        (",", "no such GPU"),
        ("0,1", "of another kind than GPU 0"),
        ("2,", "partitioned"),
        ("2", "only 1 can be used"),
    ],
)
def test_what_cannot_be_taken_is_refused(machine, wanted, words):
    there = machine((H100, {}), (A100, {}), (H100, {"mig": 1}))
    with pytest.raises(UsageError, match=words):
        devices.choose(there, wanted)


def test_without_a_usable_gpu_there_is_an_error_that_says_why(machine):
    with pytest.raises(UsageError, match="compute mode is prohibited"):
        devices.choose(machine((H100, {"mode": 2})))
    with pytest.raises(MissingError, match="no CUDA device"):
        machine()


@pytest.mark.parametrize(
    ("variable", "uuids"),
    [
        ("1,0", ["GPU-11", "GPU-00"]),
        ("GPU-2,0", ["GPU-22", "GPU-00"]),
        ("2,-1,0", ["GPU-22"]),
        ("1,1", ["GPU-11"]),
        ("MIG-GPU-22/5/x", ["MIG-GPU-22/5/x"]),
    ],
)
def test_devices_are_counted_as_cuda_shows_them(machine, monkeypatch, variable, uuids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    there = machine(*[(H100, {})] * 3)
    assert [(each.number, each.uuid) for each in there] == list(enumerate(uuids))


def test_a_part_of_a_device_is_one_with_what_is_known_of_the_whole(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1,MIG-2")
    (part,) = machine((H100, {}), (A100, {"mig": 1}), (H100, {"mig": 1}))
    assert (part.uuid, part.kind.name, part.obstacle) == ("MIG-1", A100[0], "")
    assert numbers(devices.choose([part])) == [0]


def test_a_device_that_somebody_has_just_left_is_idle(machine, monkeypatch):
    machine((H100, {"busy": 80}), (H100, {"busy": 80, "pids": (7,)}), (H100, {"busy": 80}))
    gpus, waited = sys.modules["pynvml"].gpus, []

    def rest(seconds):
        waited.append(seconds)
        gpus[0]["busy"] = 0

    monkeypatch.setattr(devices.time, "sleep", rest)
    assert [each.company for each in devices.settled()] == ["", "it is used by python (process 7)", "it is 80 % busy"]
    gpus[2]["busy"] = 0
    devices.settled()
    assert waited == [devices.LOOK_AGAIN_S]  # a process that is known needs no second look


def test_a_state_is_what_the_driver_tells(machine, cuda_can_be_used):
    machine((H100, {}), (A100, {}))
    found = [cuda.on(each).state for each in devices.visible()]
    assert found == [(61, 1755), (61, None)]
    assert devices.state_of("GPU-gone") == cuda.of_arch("sm_90a").state == (None, None)


def test_kinds_are_those_that_can_be_used(machine):
    there = machine((H100, {}), (A100, {}), (H100, {"mode": 2}), (H100, {}))
    assert [[each.number for each in alike] for alike in devices.kinds(there)] == [[0, 3], [1]]


@pytest.fixture
def cuda_can_be_used(monkeypatch):
    monkeypatch.setattr(cuda, "device_compiler", lambda: "NVRTC")
    monkeypatch.setattr(cuda.metadata, "version", lambda _: "2.9")


def test_what_is_on_record_is_measured_again_where_its_finals_were(machine, cuda_can_be_used):
    machine((A100, {}), (H100, {}), (H100, {}))
    run = {"device": H100[0], "home": {"cuda:2": "GPU-22"}}
    assert devices.home_of(run).uuid == "GPU-22"
    assert devices.home_of({**run, "home": {"cuda:0": "GPU-elsewhere"}}).uuid == "GPU-11"
    assert devices.home_of({"device": "another"}).uuid == devices.home_of({}).uuid == "GPU-00"
    assert targets.detect("cuda", machine=run).variables == {"CUDA_VISIBLE_DEVICES": "GPU-22"}
    assert targets.detect("cpu", machine=run).variables == {}


class StartedError(Exception):
    """A program would have been started with these variables."""


@pytest.fixture
def shown(monkeypatch):
    """The devices that programs are shown, which are not started."""
    found = []

    def run(command, seconds, *, variables=None, **_):
        found.append((variables or {}).get("CUDA_VISIBLE_DEVICES"))
        raise StartedError

    monkeypatch.setattr(processes, "run", run)
    return found


def test_programs_are_shown_the_device_of_their_run(machine, cuda_can_be_used, shown, monkeypatch, tmp_path):
    machine((H100, {}), (H100, {}))
    target, library = cuda.on(devices.visible()[1]), tmp_path / "kernel.so"
    monkeypatch.setattr(sanitizers, "_compute_sanitizer", lambda: "compute-sanitizer")
    monkeypatch.setattr(ncu, "find", lambda: "ncu")
    with pytest.raises(StartedError):
        sanitizers.run(target, None, None, PROBLEM, Build(BuildReport(), library))
    profiler = Profiler(target, None, str)
    with pytest.raises(StartedError):
        profiler._by_ncu(Kernel(Source("", "cuda"), {}), PROBLEM, library)
    run = SimpleNamespace(target="cuda", machine={"device": H100[0], "home": {"cuda:1": "GPU-11"}})
    with pytest.raises(StartedError):
        measure(tmp_path, "package", variables_of(run))
    assert shown == ["GPU-11"] * 3
    assert variables_of(SimpleNamespace(target="cpu", machine={})) == {}


def test_each_device_has_its_own_lock_and_its_worker_sees_no_other(machine, cuda_can_be_used, monkeypatch):
    monkeypatch.setattr(targets, "why_not_cuda", lambda: None)
    machine((H100, {}), (H100, {}), (A100, {}))
    found, words = targets.detect_all("cuda")
    assert [(each.label, each.place) for each in found] == [("cuda:0", "cuda:GPU-00"), ("cuda:1", "cuda:GPU-11")]
    assert "not GPU 2 (NVIDIA A100): it is of another kind" in words
    assert len({device_lock(each).lock_file for each in found}) == 2
    assert {each.toolchain_digest for each in found} == {found[0].toolchain_digest}
    assert device_lock(targets.detect("cuda")).lock_file == device_lock(found[0]).lock_file
