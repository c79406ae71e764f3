"""What travels between driver and nodes, beside the values of `run.jobs`."""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evoflash.codegen.toolchain import Build
from evoflash.errors import EvoflashError
from evoflash.run.plan import Plan
from evoflash.targets import Target


@dataclass(frozen=True)
class Setup:
    """What a search is about; with every request, since a node may be new or may have forgotten.

    Attributes:
        content: plans, target and build deadline, pickled once.
    """

    content: bytes

    @classmethod
    def of(cls, plans: Sequence[Plan], target: Target, build_deadline_s: float) -> Setup:
        """Of these plans, for devices like this one."""
        return cls(pickle.dumps((tuple(plans), target, build_deadline_s)))

    @functools.cached_property
    def digest(self) -> str:
        """By which a node knows a search."""
        return hashlib.sha256(self.content).hexdigest()

    def opened(self) -> tuple[tuple[Plan, ...], Target, float]:
        """Plans, target and build deadline."""
        return pickle.loads(self.content)


@dataclass(frozen=True)
class RemoteBuild(Build):
    """A build on some node.

    Attributes:
        origin: the address of the worker that has the library.
    """

    origin: str = ""


@dataclass(frozen=True)
class Answer:
    """What a node says to a request.

    Attributes:
        value: the result.
        error: why there is none: something is wrong with the node, not with the candidate.
        worker: the address of who says so.
        host: its name.
        seconds: how long it was at work.
    """

    value: Any = None
    error: EvoflashError | None = None
    worker: str = ""
    host: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Described:
    """A worker with a device.

    Attributes:
        worker: its address.
        host: its name.
        target: the device.
    """

    worker: str
    host: str
    target: Target


def kind_of(target: Target) -> str:
    """A resource of Dask's that workers have whose devices are alike: a time on one says something of the others."""
    facts = sorted((name, value) for name, value in target.facts.items() if name != "cores")
    own = f"{target.name} {target.device} {facts}"
    return f"{target.name}-{hashlib.sha256(own.encode()).hexdigest()[:12]}"
