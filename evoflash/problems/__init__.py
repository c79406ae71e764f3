"""Problems: the computations that kernels are searched for. `parse` reads a problem from the command line."""

from evoflash.problems.attention import AttentionProblem
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
)
from evoflash.problems.function import FunctionProblem
from evoflash.problems.shapes import parse, parse_all, shape_names

__all__ = [
    "BASE_SEEDS",
    "AttentionProblem",
    "Bounds",
    "Case",
    "FunctionProblem",
    "Inputs",
    "NotTakenError",
    "Output",
    "Outputs",
    "Problem",
    "parse",
    "parse_all",
    "searched_cases",
    "shape_names",
]
