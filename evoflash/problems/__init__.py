"""Problems: the computations that kernels are searched for."""

from evoflash.problems.base import (
    BASE_SEEDS,
    Bounds,
    Case,
    Inputs,
    NotTakenError,
    Output,
    Outputs,
    Problem,
    searched_cases,
    updated,
)
from evoflash.problems.function import FunctionProblem

__all__ = [
    "BASE_SEEDS",
    "Bounds",
    "Case",
    "FunctionProblem",
    "Inputs",
    "NotTakenError",
    "Output",
    "Outputs",
    "Problem",
    "searched_cases",
    "updated",
]
