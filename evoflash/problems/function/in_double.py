"""A function in float64, whatever smaller types it casts to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Types in which a reference would round. Float8 stays: what is cast to it is quantised on purpose, as integers are.
SMALLER = (torch.float16, torch.bfloat16, torch.float32)
CASTS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


class InDouble(TorchFunctionMode):
    """A context in which float64 stands for the smaller floating-point types, as an argument and in methods."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls the function with other types."""
        if func in CASTS:
            return args[0].double()
        if func is torch.Tensor.type_as:
            return in_double(func(*args))
        named = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return in_double(func(*(_wider(each) for each in args), **named))


def in_double(value: Any) -> Any:
    """A tensor of a smaller type in float64; anything else as it is."""
    return value.double() if isinstance(value, torch.Tensor) and value.dtype in SMALLER else value


def _wider(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in SMALLER else value
