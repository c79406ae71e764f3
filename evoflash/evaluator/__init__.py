"""Evaluation of built candidates: the driver's side of the cascade, and the sandbox of the worker process."""

from evoflash.evaluator.evaluator import Evaluator, Finalist, Limits

__all__ = ["Evaluator", "Finalist", "Limits"]
