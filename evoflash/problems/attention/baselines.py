"""The baselines of attention that come with PyTorch: SDPA by its backends, and eager products."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from evoflash.problems.attention import aten, quantization, sequences
from evoflash.problems.attention.reference import softmax
from evoflash.problems.attention.sdpa import additive_mask, heads_as_rows, sdpa, sdpa_mask
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Baseline, Inputs, Outputs

if TYPE_CHECKING:
    import torch

Made = TypeVar("Made")


def baselines(problem: AttentionTensors, target: str) -> Mapping[str, Baseline]:
    """SDPA's backends by name, and eager matmul-softmax-matmul.

    On a CPU: sdpa (the default, fused backend), sdpa-math (the unfused one) and eager. Where SDPA does not take the
    problem: eager alone. Masks are made once for the inputs, outside what is timed; and where sequences have lengths or
    pages, so are dense keys and values, padded with zeros: what it takes to gather them is not in their times. Of
    latent attention the query heads that share keys are rows of one product, so that keys are neither read nor copied
    once for each of them. Quantised keys and values are given to them in the type of the queries, and what it takes to
    make these is not in their times either: that favours them, though they have twice the bytes to read. Where
    sequences are packed, one is computed after the other, and the outputs are joined.

    With a log-sum-exp: the operators behind SDPA's backends, as far as they return it (see `aten`), and eager
    with `torch.logsumexp`.
    """
    from torch.nn.attention import SDPBackend

    if problem.kv_dtype is not None:
        return _of_dequantized(problem, target)
    if problem.is_packed:
        return _one_after_another(problem, target)
    if problem.is_scattered:
        return _of_padded(problem, target)
    mask = _Kept(functools.partial(sdpa_mask, problem))
    eager = {"eager": functools.partial(_eager, problem, _Kept(functools.partial(additive_mask, problem)))}
    if not problem.is_taken_by_sdpa:
        return eager
    if problem.lse:
        operators = aten.OPERATORS[target]
        added = _Kept(functools.partial(aten.operator_mask, problem))
        return {**{name: aten.baseline(problem, each, added.of) for name, each in operators.items()}, **eager}
    if target == "cpu":
        backends = {"sdpa": None, problem.plain_baseline: SDPBackend.MATH}
    else:
        backends = {
            "sdpa-cudnn": SDPBackend.CUDNN_ATTENTION,
            "sdpa-flash": SDPBackend.FLASH_ATTENTION,
            "sdpa-efficient": SDPBackend.EFFICIENT_ATTENTION,
            problem.plain_baseline: SDPBackend.MATH,
        }
    return {**{name: _with_backend(problem, mask, backend) for name, backend in backends.items()}, **eager}


def _of_dequantized(problem: AttentionTensors, target: str) -> Mapping[str, Baseline]:
    """The baselines of keys and values in the type of the queries."""
    wide = problem.model_copy(update={"kv_dtype": None})
    kept = _Kept(lambda inputs: quantization.dequantized(problem, inputs, inputs[0].dtype)[1])
    return {name: _over(kept, baseline) for name, baseline in baselines(wide, target).items()}


def _over(kept: _Kept[Inputs], baseline: Baseline) -> Baseline:
    return lambda *inputs: baseline(*kept.of(inputs))


def _one_after_another(problem: AttentionTensors, target: str) -> Mapping[str, Baseline]:
    """The baselines of each sequence as the dense problem that it is by itself."""
    import torch

    def parts(inputs: Inputs) -> list[tuple[Mapping[str, Baseline], Inputs]]:
        return [(baselines(own, target), its) for _, own, its in sequences.sequences(problem, inputs)]

    kept = _Kept(parts)

    def over(name: str) -> Baseline:
        def joined(*inputs: torch.Tensor) -> torch.Tensor:
            answers = [own[name](*its) for own, its in kept.of(inputs)]
            return torch.cat(cast("list[torch.Tensor]", answers), dim=2)  # packed sequences have one output

        return joined

    whole = problem.model_copy(update={"lengths": "", "layout": "bhsd", "batch": 1})
    return {name: over(name) for name in baselines(whole, target)}


def _of_padded(problem: AttentionTensors, target: str) -> Mapping[str, Baseline]:
    """The baselines of the dense problem that is left, with a mask or bias of what each row sees."""
    is_biased = bool(problem.bias) or problem.alibi
    dense = problem.model_copy(
        update={
            "causal": False,
            "window": None,
            "align": "top_left",
            "alibi": False,
            "lengths": "",
            "page_size": None,
            "bias": "bhqk" if is_biased else "",
            "mask": "" if is_biased else "bhqk" if "h" in problem.mask else "bqk",
        }
    )
    kept = _Kept(functools.partial(_padded, problem, dense))
    return {name: _over(kept, baseline) for name, baseline in baselines(dense, target).items()}


def _padded(problem: AttentionTensors, dense: AttentionTensors, inputs: Inputs) -> Inputs:
    """The inputs of the dense problem."""
    import torch

    q, k, v, *_ = inputs
    extras = problem.extras(inputs)
    dtype = q.dtype if dense.bias else torch.bool
    added = torch.full(dense.extra_shapes()["bias" if dense.bias else "mask"], False, dtype=dtype, device=q.device)
    if dense.bias:
        added.fill_(-math.inf)
    for number, own, its in sequences.sequences(problem, inputs):
        mask = additive_mask(own, its)
        added[number, :, :, : own.seq_kv] = True if mask is None else mask[0]
    keys, values = (sequences.padded(problem, each, extras.get("block_table")) for each in (k, v))
    return (q, keys, values, added, *(extras[name] for name in ("sinks",) if name in extras))


def _with_backend(problem: AttentionTensors, mask: _Kept[torch.Tensor | None], backend: Any) -> Baseline:
    def run(*inputs: torch.Tensor) -> torch.Tensor:
        from torch.nn.attention import sdpa_kernel

        q, k, v = problem.qkv(inputs)
        if backend is None:
            return sdpa(problem, q, k, v, mask.of(inputs))
        with sdpa_kernel(backend):
            return sdpa(problem, q, k, v, mask.of(inputs))

    return run


def _eager(
    problem: AttentionTensors, mask: _Kept[torch.Tensor | None], *inputs: torch.Tensor
) -> torch.Tensor | Outputs:
    import torch

    q, k, v = problem.qkv(inputs)
    if problem.latent:
        q = heads_as_rows(q, k)
    elif problem.heads != problem.kv_heads:
        k, v = (tensor.repeat_interleave(problem.heads // problem.kv_heads, dim=1) for tensor in (k, v))
    logits = torch.matmul(q, k.transpose(-2, -1)) * problem.softmax_scale
    logits = logits.reshape(problem.batch, problem.heads, problem.seq_q, problem.seq_kv)
    if problem.softcap:
        logits = (logits / problem.softcap).tanh() * problem.softcap
    added = mask.of(inputs)
    if added is not None:
        logits = logits.masked_fill(~added, -math.inf) if added.dtype == torch.bool else logits + added
    sinks = problem.extras(inputs).get("sinks")
    if sinks is None:
        weights = torch.softmax(logits, dim=-1)
    else:
        weights = softmax(logits.flatten(0, 1), sinks.repeat(problem.batch)).view_as(logits)
    if problem.latent:
        out = torch.matmul(heads_as_rows(weights, k), v).reshape(problem.output_shape())
    else:
        out = torch.matmul(weights, v)
    if not problem.lse:
        return out
    sums = torch.logsumexp(logits.float(), dim=-1)
    return out, sums if sinks is None else torch.logaddexp(sums, sinks[:, None])


class _Kept(Generic[Made]):
    """What is made of inputs, kept for inputs that come again."""

    def __init__(self, make: Callable[[Inputs], Made]):
        self._make = make
        self._known: dict[tuple[int, ...], tuple[Inputs, Made]] = {}  # inputs that live keep their id

    def of(self, inputs: Inputs) -> Made:
        """Made of these inputs, once."""
        key = tuple(id(each) for each in inputs)
        if key not in self._known:
            self._known[key] = (inputs, self._make(inputs))
        return self._known[key][1]
