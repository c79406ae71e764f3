"""Scaled-dot-product attention, and its shapes on the command line."""

from evoflash.problems.attention.problem import AttentionProblem
from evoflash.problems.attention.shapes import parse, parse_all, shape_names

__all__ = ["AttentionProblem", "parse", "parse_all", "shape_names"]
