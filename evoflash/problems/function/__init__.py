"""Problems that a user brings: a PyTorch function, or a module as in KernelBench, in a Python file of its own."""

from evoflash.problems.function.problem import FunctionProblem, Variant
from evoflash.problems.function.signature import Interface, Number, Parameter, Signature, Size, Sizes, Tensor

__all__ = [
    "FunctionProblem",
    "Interface",
    "Number",
    "Parameter",
    "Signature",
    "Size",
    "Sizes",
    "Tensor",
    "Variant",
]
