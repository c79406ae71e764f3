"""PyTorch's FlexAttention, compiled for a problem."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.problems.attention.form import FEATURES
from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch


class FlexAttention(Rival):
    """FlexAttention in the default mode of `torch.compile`.

    Soft caps, biases and slopes are a `score_mod`; bands and masks a `mask_mod`, whose block mask is made beforehand;
    a sink is applied to the output by way of the log-sum-exp (PyTorch 2.9 and later, on a GPU).

    On a CPU it must be asked for, since compiling takes 5 to 10 s of a core, unless PyTorch's cache has it.
    """

    name = "flex-attention"
    module = "torch.nn.attention.flex_attention"
    package = "torch"
    targets = ("cuda", "cpu")
    on_request = ("cpu",)
    compiles = True

    def refusal(self, problem: AttentionTensors) -> str:
        """Takes every feature but lengths and pages, for which there is no block mask here, quantised keys, and the
        log-sum-exp.
        """
        declined = ("lengths", "page_size", "kv_dtype", "lse")
        return requirements.features(problem, [name for name in FEATURES if name not in declined])

    def __init__(self) -> None:
        self._compiled: dict[AttentionTensors, Callable[..., Any]] = {}

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call with the block mask made beforehand; the first call for a problem compiles."""
        import torch

        flex = self.load()
        if problem not in self._compiled:
            torch.compiler.reset()  # else the problems of one process would count towards a limit of recompilations
            # Without a graph break, so never unfused.
            self._compiled[problem] = torch.compile(_attention(flex, problem), dynamic=False, fullgraph=True)
        call, mask, extras = self._compiled[problem], _block_mask(flex, problem, inputs), problem.extras(inputs)
        return lambda: call(*problem.qkv(inputs), mask, extras.get("bias"), extras.get("slopes"), extras.get("sinks"))


def _attention(flex: Any, problem: AttentionTensors) -> Callable[..., torch.Tensor]:
    """The function that is compiled. Of the problem it reads numbers and texts only, which compilation can follow."""
    import torch

    scale, is_grouped = problem.softmax_scale, problem.heads != problem.kv_heads
    softcap, over, diagonal = problem.softcap, problem.bias, problem.band.diagonal

    def attention(q: Any, k: Any, v: Any, mask: Any, bias: Any, slopes: Any, sinks: Any) -> torch.Tensor:
        def score_mod(score: Any, batch: Any, head: Any, row: Any, key: Any) -> Any:
            if softcap:
                score = torch.tanh(score / softcap) * softcap
            if bias is not None:
                score = score + _at(bias, over, batch, head, row, key)
            if slopes is not None:
                score = score - slopes[head] * (key - row - diagonal).abs()
            return score

        changed = score_mod if softcap or bias is not None or slopes is not None else None
        options = {"score_mod": changed, "block_mask": mask, "scale": scale, "enable_gqa": is_grouped}
        if sinks is None:
            return flex.flex_attention(q, k, v, **options)
        out, more = flex.flex_attention(q, k, v, **options, return_aux=flex.AuxRequest(lse=True))
        return out * torch.sigmoid(more.lse - sinks[:, None])[..., None].to(out.dtype)

    return attention


def _block_mask(flex: Any, problem: AttentionTensors, inputs: Inputs) -> Any:
    """The block mask of the band and the mask; None where every key is seen."""
    mask, over = problem.extras(inputs).get("mask"), problem.mask
    diagonal, left, right = problem.band.diagonal, problem.band.left, problem.band.right
    if mask is None and not problem.band.is_limited:
        return None

    def mask_mod(batch: Any, head: Any, row: Any, key: Any) -> Any:
        distance = key - row - diagonal
        conditions = [] if mask is None else [_at(mask, over, batch, head, row, key)]
        if left is not None:
            conditions.append(distance >= -left)
        if right is not None:
            conditions.append(distance <= right)
        return functools.reduce(operator.and_, conditions)

    batch = problem.batch if "b" in over else None
    heads = problem.heads if "h" in over else None
    return flex.create_block_mask(mask_mod, batch, heads, problem.seq_q, problem.seq_kv, device=str(inputs[0].device))


def _at(tensor: torch.Tensor, over: str, batch: Any, head: Any, row: Any, key: Any) -> Any:
    """An element of a bias or mask that extends over some of the dimensions "bhqk"."""
    index = zip("bhqk", (batch, head, row, key), strict=True)
    return tensor[tuple(place if letter in over else 0 for letter, place in index)]
