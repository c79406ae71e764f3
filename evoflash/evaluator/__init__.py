"""Evaluation of built candidates: the driver's side of the cascade, and the sandbox of the worker process."""

from evoflash.evaluator.evaluator import Evaluator
from evoflash.evaluator.screening import Limits, screen
from evoflash.evaluator.shape_evaluator import Finalist, ShapeEvaluator

__all__ = ["Evaluator", "Finalist", "Limits", "ShapeEvaluator", "screen"]
