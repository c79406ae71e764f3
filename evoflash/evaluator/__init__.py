"""The cascade that a built candidate goes through, in a process that may die."""

from evoflash.evaluator.evaluator import Evaluator, Finalist, Limits

__all__ = ["Evaluator", "Finalist", "Limits"]
