"""Targets: where kernels are built for and run."""

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
    """The target of this machine: "cuda", "cpu", or "auto" for a CUDA device where one can be used.

    Raises:
        MissingError: when the target that was asked for is not to be had.
    """
    if name == "auto":
        name = "cpu" if why_not_cuda() else "cuda"
    if name == "cuda":
        return cuda.detect(arch, debug)
    if name == "cpu":
        return cpu.detect(debug)
    raise unknown("target", name, ("auto", "cuda", "cpu"))
