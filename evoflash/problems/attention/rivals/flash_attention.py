"""FlashAttention 2, 3 and 4 (Dao-AILab), whose functions are called alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch


class _FlashAttention(Rival):
    """A `flash_attn_func`, which takes strided views of (batch, length, heads, head size).

    Or a `flash_attn_varlen_func`, which takes packed sequences, as views of (rows of all, heads, head size).

    Attributes:
        features: those of `form.FEATURES` that it takes.
        unlimited: how it writes that a side of the window has no limit.
    """

    features: ClassVar[tuple[str, ...]] = ("align", "window", "softcap", "packed")
    unlimited: ClassVar[int | None] = -1

    def refusal(self, problem: AttentionTensors) -> str:
        """Takes float16 and bfloat16, and head sizes up to 256."""
        for size in (problem.head_dim, problem.value_size):
            if size > 256 or size % 8:
                return f"it takes head sizes that are multiples of 8 up to 256, not {size}"
        return (
            requirements.half_precision(problem)
            or requirements.features(problem, self.features)
            or requirements.bottom_right(problem)
        )

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call on transposed views."""
        module, extras = self.load(), problem.extras(inputs)
        q, k, v = (tensor.transpose(1, 2) for tensor in problem.qkv(inputs))
        options: dict[str, Any] = {"softmax_scale": problem.softmax_scale, **self.options(extras)}
        function = module.flash_attn_varlen_func if problem.is_packed else module.flash_attn_func
        if problem.is_packed:
            q, k, v = q[0], k[0], v[0]
            options |= {"cu_seqlens_q": extras["q_starts"], "cu_seqlens_k": extras["k_starts"]}
            options |= {"max_seqlen_q": problem.seq_q, "max_seqlen_k": problem.seq_kv}
        band = requirements.bottom_right_band(problem)
        if (band.left, band.right) == (None, 0):
            options["causal"] = True
        elif band.is_limited:
            options["window_size"] = tuple(self.unlimited if side is None else side for side in (band.left, band.right))
        if problem.softcap:
            options["softcap"] = problem.softcap

        def call() -> torch.Tensor:
            out = function(q, k, v, **options)
            out = out[0] if isinstance(out, tuple) else out  # some versions add the log-sum-exp
            return (out[None] if problem.is_packed else out).transpose(1, 2)

        return call

    def options(self, extras: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Further keyword arguments; `extras` are the inputs after q, k and v, by name."""
        return {}


class FlashAttention2(_FlashAttention):
    """FlashAttention 2, `flash_attn.flash_attn_func`."""

    name = "flash-attn-2"
    module = "flash_attn.flash_attn_interface"  # version 4 alone has a package flash_attn, too, without this module
    package = "flash-attn"
    features = (*_FlashAttention.features, "alibi")

    def options(self, extras: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Slopes."""
        return {"alibi_slopes": extras["slopes"]} if "slopes" in extras else {}


class FlashAttention3(_FlashAttention):
    """FlashAttention 3 for Hopper, which chooses itself over how many blocks it splits the keys (`num_splits=0`)."""

    name = "flash-attn-3"
    module = "flash_attn_interface"
    package = "flash-attn-3"
    features = (*_FlashAttention.features, "value_dim")

    def options(self, extras: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Its own choice of splits."""
        return {"num_splits": 0}


class FlashAttention4(_FlashAttention):
    """FlashAttention 4, written in CuTe DSL, which compiles a kernel in the first call."""

    name = "flash-attn-4"
    module = "flash_attn.cute.interface"
    package = "flash-attn-4"
    features = (*_FlashAttention.features, "value_dim", "sinks")
    unlimited = None
    compiles = True

    def options(self, extras: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Sinks."""
        return {"learnable_sink": extras["sinks"]} if "sinks" in extras else {}
