"""Targets: the devices that kernels are built for and run on."""

from evoflash.errors import MissingError, unknown
from evoflash.targets import cpu, cuda
from evoflash.targets.base import Step, Target

__all__ = ["Step", "Target", "detect", "why_not_cuda"]


def why_not_cuda() -> str | None:
    """Why this machine cannot search CUDA kernels, or None when it can."""
    try:
        cuda.detect()
    except MissingError as error:
        return str(error)
    return None


def detect(name: str = "auto", arch: str | None = None, debug: bool = False) -> Target:
    """The target of this machine: "cuda", "cpu", or "auto", which is CUDA if it can be used.

    Raises:
        MissingError: when the requested target is not available.
    """
    if name == "auto":
        name = "cpu" if why_not_cuda() else "cuda"
    if name == "cuda":
        return cuda.detect(arch, debug)
    if name == "cpu":
        return cpu.detect(debug)
    raise unknown("target", name, ("auto", "cuda", "cpu"))
