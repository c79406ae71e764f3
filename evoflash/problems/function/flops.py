"""Floating-point operations, as PyTorch counts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """A context that adds up the operations of matrix products, convolutions and attention.

    The sums are those of `torch.utils.flop_counter.FlopCounterMode`, whose first use imports torch._dynamo. That takes
    seconds, which a function that is not compiled need not wait.

    Attributes:
        total: a multiply-add counts as two.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled under this mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Calls an operation, and counts it."""
        named = dict(kwargs or {})
        out = func(*args, **named)
        count: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **named, out_val=out)
        return out
