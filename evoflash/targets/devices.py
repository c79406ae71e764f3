"""The CUDA devices of this machine: what their driver tells, and which of them a search takes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from evoflash.errors import MissingError, UsageError

IDLE_PERCENT = 10  # of NVML's utilization: a device above that is somebody's, whoever it is
LOOK_AGAIN_S = 1.2  # NVML's utilization is of up to a second, in which somebody may have ended
ALL = "all"


class Kind(NamedTuple):
    """What devices have in common that are alike: a kernel's time on one says something of the others."""

    name: str
    capability: tuple[int, int]
    cores: int
    memory_bytes: int


@dataclass(frozen=True)
class Device:
    """A CUDA device.

    Attributes:
        number: as PyTorch counts, which is among those that CUDA_VISIBLE_DEVICES leaves.
        uuid: of the device wherever it is plugged in, or of the part of one (MIG) that CUDA shows.
        max_sm_clock_mhz: the clock of its multiprocessors at most.
        driver: the version.
        mode: its compute mode: "default", "exclusive" (one process at a time) or "prohibited".
        is_partitioned: whether it is split into parts (MIG), so that it does not work as a whole.
        users: other processes that compute there, as far as the driver tells.
        busy_percent: the share of the last second in which anybody computed there.
    """

    number: int
    uuid: str
    kind: Kind
    max_sm_clock_mhz: int
    driver: str
    mode: str = "default"
    is_partitioned: bool = False
    users: tuple[str, ...] = ()
    busy_percent: int = 0

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.kind.name})"

    @property
    def obstacle(self) -> str:
        """Why nothing can run on it; empty if something can."""
        if self.mode == "prohibited":
            return "its compute mode is prohibited"
        if self.is_partitioned:
            return "it is partitioned (MIG); name a part in CUDA_VISIBLE_DEVICES"
        if self.mode == "exclusive" and self.users:
            return f"its compute mode is exclusive, and {', '.join(self.users)} has it"
        return ""

    @property
    def company(self) -> str:
        """Who else uses it; empty for an idle device."""
        if self.users:
            return f"it is used by {', '.join(self.users)}"
        return f"it is {self.busy_percent} % busy" if self.busy_percent >= IDLE_PERCENT else ""


@dataclass(frozen=True)
class Choice:
    """The devices that a search takes.

    Attributes:
        taken: all of one kind, the home of the finals first.
        left: those that are not taken, with the reason.
        remarks: what is to be known of those taken.
    """

    taken: tuple[Device, ...]
    left: tuple[tuple[Device, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        numbers = ", ".join(str(each.number) for each in self.taken)
        words = [f"{'GPU' if len(self.taken) == 1 else 'GPUs'} {numbers} ({self.taken[0].kind.name})", *self.remarks]
        return "; ".join([*words, *(f"not {device}: {why}" for device, why in self.left)])


def choose(devices: Sequence[Device], wanted: str = ALL) -> Choice:
    """The devices for a search.

    Args:
        devices: at least one.
        wanted: "all" for those that are idle and of the kind of the first that is; a number, how many of those; or the
            numbers of the devices with a comma, e.g. "0,1" or "2,": these, whoever else uses them.

    Raises:
        UsageError: for devices that are not there, of another kind, or not usable, and for other words.
    """
    if "," in wanted:
        return _named(devices, wanted)
    count = None
    if wanted != ALL:
        if not wanted.isdecimal() or wanted == "0":
            raise UsageError(
                f"--devices {wanted!r} means nothing; write all, how many (2), or numbers with a comma (0,1 or 0,)"
            )
        count = int(wanted)
    usable = [each for each in devices if not each.obstacle]
    if not usable:
        reasons = "; ".join(f"{each}: {each.obstacle}" for each in devices)
        raise UsageError(f"no GPU can be used ({reasons}); choose another machine, or --target cpu")
    idle = [each for each in usable if not each.company]
    first = (idle or usable)[0]
    alike = [each for each in idle if each.kind == first.kind] or [first]
    taken = alike if count is None else alike[:count]
    left = tuple((each, _why_left(each, first, taken)) for each in devices if each not in taken)
    if count is not None and len(taken) < count:
        reasons = "; ".join(f"{device}: {why}" for device, why in left)
        why = reasons or "there are no more"
        raise UsageError(f"--devices {count}: only {len(taken)} can be used ({why}); ask for fewer, or name them: 0,1")
    return Choice(tuple(taken), left, tuple(filter(None, map(_remark, taken))))


def _named(devices: Sequence[Device], wanted: str) -> Choice:
    known = {each.number: each for each in devices}
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    there = ", ".join(map(str, known))
    if not words or not all(word.isdecimal() and int(word) in known for word in words):
        raise UsageError(f"--devices {wanted!r}: there is no such GPU; choose from: {there}")
    taken = list(dict.fromkeys(known[int(word)] for word in words))
    for each in taken:
        if each.obstacle:
            raise UsageError(f"--devices {wanted!r}: {each} cannot be used ({each.obstacle}); leave it out")
        if each.kind != taken[0].kind:
            raise UsageError(
                f"--devices {wanted!r}: {each} is of another kind than {taken[0]}, so their times do not compare; "
                "search them by runs of their own (--each-device-kind)"
            )
    left = tuple((each, "it was not asked for") for each in devices if each not in taken)
    return Choice(tuple(taken), left if len(left) == 1 else (), tuple(filter(None, map(_remark, taken))))


def _remark(device: Device) -> str:
    return f"GPU {device.number}: {device.company}" if device.company else ""


def _why_left(device: Device, first: Device, taken: Sequence[Device]) -> str:
    if device.obstacle or device.company:
        return device.obstacle or device.company
    return "it is of another kind" if device.kind != taken[0].kind else f"{len(taken)} were asked for"


def kinds(devices: Sequence[Device]) -> list[list[Device]]:
    """Devices by kind, in the order of their first ones; those that cannot be used are left out."""
    found: dict[Kind, list[Device]] = {}
    for each in devices:
        if not each.obstacle:
            found.setdefault(each.kind, []).append(each)
    return list(found.values())


def visible() -> list[Device]:
    """The CUDA devices that this process may use, in the order in which PyTorch counts them.

    Raises:
        MissingError: when there is none, or no driver.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = _handles(pynvml)
        if not handles:
            raise MissingError("there is no CUDA device; use --target cpu, or a machine with an NVIDIA GPU")
        return [_device(pynvml, number, *each) for number, each in enumerate(handles)]
    except pynvml.NVMLError as error:
        raise MissingError(
            f"there is no CUDA device ({error}); use --target cpu, or install the NVIDIA driver"
        ) from None


def settled() -> list[Device]:
    """The visible devices. One that is busy without a process that is known is looked at again a moment later."""
    found = visible()
    if any(each.busy_percent >= IDLE_PERCENT and not each.users for each in found):
        time.sleep(LOOK_AGAIN_S)
        found = visible()
    return found


def home_of(machine: Mapping[str, Any]) -> Device:
    """The device on which a run held its finals; where that is not here, the first like it, or the first.

    Args:
        machine: what is on record of the run's; nothing for the first device.

    Raises:
        MissingError: when there is no device.
    """
    there, home = visible(), machine.get("home") or {}
    own = [each for each in there if each.uuid and each.uuid in home.values()]
    alike = [each for each in there if each.kind.name == machine.get("device")]
    return (own or alike or there)[0]


class State(NamedTuple):
    """A device at a moment: its temperature, and the clock of its multiprocessors; None where that is not known."""

    temperature_c: float | None = None
    clock_mhz: float | None = None


def state_of(uuid: str) -> State:
    """The state of a device now; a look takes microseconds."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return State()

    def ask(function: Any, what: Any) -> float | None:
        try:
            return float(function(handle, what))
        except pynvml.NVMLError:  # a part of a device has no temperature of its own
            return None

    return State(
        ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
    )


def _handles(pynvml: Any) -> list[tuple[Any, str]]:
    """Handle and UUID of each device, as CUDA_VISIBLE_DEVICES has them: up to the first word that names none."""
    count = pynvml.nvmlDeviceGetCount()
    every = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
    known = [(each, str(pynvml.nvmlDeviceGetUUID(each))) for each in every]
    words = os.environ.get("CUDA_VISIBLE_DEVICES")
    if words is None:
        return known
    found: list[tuple[Any, str]] = []
    for word in (each.strip() for each in words.split(",")):
        if word.startswith("MIG-"):
            return found or [(_whole(pynvml, word, known[0][0]), word)]  # CUDA shows one part, and nothing beside it
        if word.isdecimal():
            own = known[int(word)] if int(word) < count else None
        else:
            own = next((each for each in known if word and each[1].startswith(word)), None)
        if own is None or own in found:
            break
        found.append(own)
    return found


def _whole(pynvml: Any, part: str, otherwise: Any) -> Any:
    """The device of which this is a part."""
    try:
        return pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(pynvml.nvmlDeviceGetHandleByUUID(part))
    except pynvml.NVMLError:  # drivers before 470 named parts otherwise
        return otherwise


def _device(pynvml: Any, number: int, handle: Any, uuid: str) -> Device:
    def ask(function: Any, otherwise: Any) -> Any:
        try:
            return function(handle)
        except pynvml.NVMLError:  # not every driver and device tells everything
            return otherwise

    modes = {
        pynvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
        pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive",
        pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "exclusive",
    }
    partitioned = ask(pynvml.nvmlDeviceGetMigMode, (0, 0))[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    utilization = ask(pynvml.nvmlDeviceGetUtilizationRates, None)
    return Device(
        number=number,
        uuid=uuid,
        kind=Kind(
            str(pynvml.nvmlDeviceGetName(handle)),
            tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            int(pynvml.nvmlDeviceGetNumGpuCores(handle)),
            int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        ),
        max_sm_clock_mhz=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
        driver=str(pynvml.nvmlSystemGetDriverVersion()),
        mode=modes.get(ask(pynvml.nvmlDeviceGetComputeMode, None), "default"),
        is_partitioned=partitioned and not uuid.startswith("MIG-"),
        users=_users(pynvml, handle),
        busy_percent=int(utilization.gpu) if utilization is not None else 0,
    )


def _users(pynvml: Any, handle: Any) -> tuple[str, ...]:
    """The other processes that compute on a device."""
    found: list[str] = []
    with contextlib.suppress(pynvml.NVMLError):
        for pid in (each.pid for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)):
            if pid == os.getpid():
                continue
            name = "a process"
            with contextlib.suppress(pynvml.NVMLError):  # it has ended, or is of another container
                name = PurePath(next(iter(pynvml.nvmlSystemGetProcessName(pid).split()), "a process")).name
            found.append(f"{name} (process {pid})")
    return tuple(found)
