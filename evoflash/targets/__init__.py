"""Targets: the devices that kernels are built for and run on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from evoflash.errors import MissingError, unknown
from evoflash.targets import cpu, cuda, devices
from evoflash.targets.base import Step, Target

__all__ = ["Step", "Target", "detect", "detect_all", "why_not_cuda"]


def why_not_cuda() -> str | None:
    """Why this machine cannot search CUDA kernels, or None when it can."""
    try:
        cuda.detect()
    except MissingError as error:
        return str(error)
    return None


def detect_all(
    name: str, wanted: str = devices.ALL, arch: str | None = None, debug: bool = False
) -> tuple[list[Target], str]:
    """The devices of this machine that a search takes, and a line about them; none where there is no choice.

    Args:
        wanted: as in `devices.choose`; a CPU is one device.

    Raises:
        MissingError: when the requested target is not available.
        UsageError: for devices that cannot be taken.
    """
    first = detect(name, arch, debug)
    if first.name == "cpu":
        return [first], ""
    there = devices.settled()
    choice = devices.choose(there, wanted)
    words = str(choice) if len(there) > 1 or choice.remarks else ""
    return [cuda.on(each, arch, debug) for each in choice.taken], words


def detect(
    name: str = "auto",
    arch: str | None = None,
    debug: bool = False,
    machine: Mapping[str, Any] = MappingProxyType({}),
) -> Target:
    """The target of this machine: "cuda", "cpu", or "auto", which is CUDA if it can be used.

    Args:
        machine: of a run on record, whose device it is to be if it is here; else it is the first.

    Raises:
        MissingError: when the requested target is not available.
    """
    if name == "auto":
        name = "cpu" if why_not_cuda() else "cuda"
    if name == "cuda":
        return cuda.detect(arch, debug, machine)
    if name == "cpu":
        return cpu.detect(debug)
    raise unknown("target", name, ("auto", "cuda", "cpu"))
