"""The cascade that a built candidate goes through, in a process that may die."""

from evoflash.evaluator.evaluator import Evaluator
from evoflash.evaluator.shape_evaluator import Finalist, Limits, ShapeEvaluator

__all__ = ["Evaluator", "Finalist", "Limits", "ShapeEvaluator"]
