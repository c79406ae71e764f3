"""The scores of attention: what is done to q k^T before the softmax, and the tensors that this takes beside q, k and v.

    scores = softcap(scale q k^T) + bias - slope |distance|, and -inf where the band or the mask hides the key

with softcap(x) = c tanh(x / c) (Gemma 2, arXiv:2408.00118), the slopes of ALiBi by head (arXiv:2108.12409), and the
distance of a key from the row's own position. A sink is a further logit of each head, which takes part in the softmax
and has no value (arXiv:2309.17453; learned, as in gpt-oss).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evoflash.problems.attention.tensors import AttentionTensors

if TYPE_CHECKING:
    import torch

PADDING = 0.3  # of keys that a mask hides, on average
LARGEST_SLOPE = 0.5  # of ALiBi for eight heads


def extra_values(problem: AttentionTensors, variant: str, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Values of the bias, mask, slopes and sinks: float32, and bool for the mask.

    A mask without query rows hides the keys from some length on, as padding does; others hide keys at random. The
    variant "hidden_rows" hides all keys of some rows, and "infinite_bias" is a bias that hides keys by -inf.
    """
    import torch

    made: dict[str, torch.Tensor] = {}
    for name, shape in problem.extra_shapes().items():
        if name == "bias":
            made[name] = torch.randn(shape, generator=generator)
            if variant == "infinite_bias":
                made[name][torch.rand(shape, generator=generator) < PADDING] = -math.inf
            if variant in ("infinite_bias", "hidden_rows"):
                made[name][..., -1:, :] = -math.inf
        elif name == "mask":
            if shape[2] == 1 and shape[3] > 1:
                lengths = torch.randint(1, shape[3] + 1, (*shape[:3], 1), generator=generator)
                made[name] = torch.arange(shape[3]) < lengths
            else:
                made[name] = torch.rand(shape, generator=generator) >= PADDING
            if variant == "hidden_rows":
                made[name][..., -1:, :] = False
        elif name == "slopes":
            made[name] = LARGEST_SLOPE * 2.0 ** -(torch.arange(shape[0]) * 8.0 / shape[0])
        elif name == "sinks":
            made[name] = torch.randn(shape, generator=generator)
    return made


def scores(
    problem: AttentionTensors,
    products: torch.Tensor,
    heads: torch.Tensor,
    rows: torch.Tensor,
    extras: Mapping[str, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores, and which of them are visible.

    Args:
        products: q k^T of some heads and rows, of shape (n, r, seq_kv); it is overwritten.
        heads: their numbers (n,), counted over the batch.
        rows: their numbers (r,).
        extras: the inputs after q, k and v, by name.
    """
    import torch

    values = products.mul_(problem.softmax_scale)
    if problem.softcap:
        values = values.div_(problem.softcap).tanh_().mul_(problem.softcap)
    keys = torch.arange(problem.seq_kv, device=values.device)
    visible = problem.band.visible(rows, keys).expand_as(values)
    batch, head = heads // problem.heads, heads % problem.heads
    if "bias" in extras:
        values += _rows_of(problem, extras["bias"], batch, head, rows).to(values.dtype)
    if "slopes" in extras:
        distance = (keys[None, :] - rows[:, None] - problem.band.diagonal).abs()
        values -= extras["slopes"][head].to(values.dtype)[:, None, None] * distance
    if "mask" in extras:
        visible = visible & _rows_of(problem, extras["mask"], batch, head, rows)
    return values.masked_fill_(~visible, -math.inf), visible


def _rows_of(
    problem: AttentionTensors, tensor: torch.Tensor, batch: torch.Tensor, head: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """The part of a bias or mask that belongs to some heads and rows: (n, r, seq_kv)."""
    whole = tensor.expand(problem.batch, problem.heads, problem.seq_q, problem.seq_kv)
    return whole[batch, head][:, rows]
