"""What PyTorch's compiler makes of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival


class Compiled(Rival):
    """The function by `torch.compile`, for these sizes alone, and whole: a graph break is an error."""

    name = "compile"
    module = "torch"
    package = "torch"
    targets = ("cuda", "cpu")

    def __init__(self) -> None:
        self._compiled: tuple[object, Callable[..., Any]] | None = None

    def refusal(self, problem: Any) -> str:
        """Nothing in advance."""
        return ""

    def bind(self, problem: Any, inputs: Inputs) -> BoundCall:
        """A call on these inputs; the first call for a problem compiles."""
        import torch

        if self._compiled is None or self._compiled[0] != problem:
            torch.compiler.reset()  # else the problems of one process would count towards a limit of recompilations
            function = problem.computation.function
            self._compiled = (problem, torch.compile(function, dynamic=False, fullgraph=True))
        call, computation = self._compiled[1], problem.computation
        kept = computation.kept(inputs)

        def bound() -> Any:
            outputs = computation.outputs_of(call(*kept))
            return outputs[0] if len(outputs) == 1 else outputs

        bound()
        return bound
