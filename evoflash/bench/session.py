"""A session with a worker: the ground that a bench and a verification stand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from evoflash.bench.entrants import Entrant, Kernel
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.evaluator.sandbox import Sandbox
from evoflash.problems import Problem
from evoflash.targets import Target


class Session:
    """A worker for a target, and what was built for it; a context manager, since it owns the worker.

    Args:
        say: is told what is going on.
    """

    def __init__(self, target: Target, toolchain: Toolchain, say: Callable[[str], None]):
        self._target = target
        self._toolchain = toolchain
        self._say = say
        self._sandbox = Sandbox(target.place)
        self._builds: dict[str, Build] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def start(self) -> Mapping[str, Any]:
        """Brings the worker up; what it says of the machine."""
        self._sandbox.start()
        return self._sandbox.machine

    def _build(self, entrant: Entrant, problem: Problem) -> tuple[Kernel, Build] | str:
        """An entrant's kernel for a problem, each source built once; or why it declines the problem."""
        kernel = entrant.kernel(problem, self._target)
        if isinstance(kernel, str):
            return kernel
        digest = kernel.source.digest
        if digest not in self._builds:
            self._builds[digest] = self._toolchain.build(kernel.source)
        return kernel, self._builds[digest]
