"""PyTorch's own attention: SDPA by its backends, eager products, and the form whose errors bound a kernel's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evoflash.problems import attention_aten, attention_sequences, quantization
from evoflash.problems.attention_reference import by_sequence, keyless, log_sum_exp, softmax
from evoflash.problems.attention_scores import scores
from evoflash.problems.attention_tensors import AttentionTensors
from evoflash.problems.base import PLAIN_BASELINE, Baseline, Inputs, Outputs

if TYPE_CHECKING:
    import torch

Made = TypeVar("Made")

GRID_HEIGHT = 65_535  # the limit on the second and third dimension of a CUDA grid
PLAIN_SCORES = 2**26  # computed at a time where SDPA does not take the problem


def plain(problem: AttentionTensors, inputs: Inputs) -> Outputs:
    """SDPA with PyTorch's default backend, on contiguous copies and at most `GRID_HEIGHT` heads at a time.

    The copies are needed because the cuDNN backend reads outside unaligned rows, and the slices because it fails
    with more heads (PyTorch 2.11). What SDPA does not take is computed as a fused kernel does it: scores in float32,
    weights rounded to the type of the inputs. So are quantised keys and values, which are wide numbers then: were they
    rounded to the type of the queries, the bounds would bear that, too. Rows that see no key are 0; some backends have
    NaN there.

    The log-sum-exp is `torch.logsumexp` of scores in float32.
    """
    import torch

    if problem.kv_dtype is not None:
        problem, inputs = quantization.dequantized(problem, inputs, torch.float32)
    if problem.is_scattered:
        return by_sequence(problem, inputs, plain, keyless(problem, inputs))
    is_for_sdpa = problem.is_taken_by_sdpa and inputs[1].dtype == inputs[0].dtype
    out = _of_sdpa(problem, inputs) if is_for_sdpa else _fused(problem, inputs)
    return (out, _log_sum_exp(problem, inputs)) if problem.lse else (out,)


def _of_sdpa(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    import torch

    q, k, v = problem.qkv(inputs)
    mask = sdpa_mask(problem, inputs)
    group = problem.heads // problem.kv_heads
    keys = max(1, GRID_HEIGHT // group)
    sizes = (keys * group, keys, keys)
    slices = (each.split(size, dim=1) for each, size in zip((q, k, v), sizes, strict=True))
    parts = list(zip(*slices, strict=True))
    by_head = mask is not None and mask.shape[1] > 1
    masks = mask.split(keys * group, dim=1) if mask is not None and by_head else [mask] * len(parts)
    answers = [
        sdpa(problem, *(each.contiguous() for each in part), mask=own) for part, own in zip(parts, masks, strict=True)
    ]
    out = torch.cat(answers, dim=1) if len(answers) > 1 else answers[0]
    if mask is None:
        return out
    seen = mask if mask.dtype == torch.bool else mask > -math.inf
    return out.masked_fill(~seen.any(dim=-1, keepdim=True), 0.0)


def baselines(problem: AttentionTensors, target: str) -> Mapping[str, Baseline]:
    """SDPA's backends by name, and eager matmul-softmax-matmul.

    On a CPU: sdpa (the default, fused backend), sdpa-math (the unfused one) and eager. Where SDPA does not take the
    problem: eager alone. Masks are made once for the inputs, outside what is timed; and where sequences have lengths or
    pages, so are dense keys and values, padded with zeros: what it takes to gather them is not in their times. Of
    latent attention the query heads that share keys are rows of one product, so that keys are neither read nor copied
    once for each of them. Quantised keys and values are given to them in the type of the queries, and what it takes to
    make these is not in their times either: that favours them, though they have twice the bytes to read. Where
    sequences are packed, one is computed after the other, and the outputs are joined.

    With a log-sum-exp: the operators behind SDPA's backends, as far as they return it (see `attention_aten`), and eager
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
    eager = {"eager": functools.partial(_eager, problem, _Kept(functools.partial(_additive_mask, problem)))}
    if not problem.is_taken_by_sdpa:
        return eager
    if problem.lse:
        operators = attention_aten.OPERATORS[target]
        of = _Kept(functools.partial(attention_aten.additive_mask, problem, functools.partial(sdpa_mask, problem)))
        return {**{name: attention_aten.baseline(problem, each, of.of) for name, each in operators.items()}, **eager}
    if target == "cpu":
        backends = {"sdpa": None, PLAIN_BASELINE: SDPBackend.MATH}
    else:
        backends = {
            "sdpa-cudnn": SDPBackend.CUDNN_ATTENTION,
            "sdpa-flash": SDPBackend.FLASH_ATTENTION,
            "sdpa-efficient": SDPBackend.EFFICIENT_ATTENTION,
            PLAIN_BASELINE: SDPBackend.MATH,
        }
    return {**{name: _with_backend(problem, mask, backend) for name, backend in backends.items()}, **eager}


def sdpa(
    problem: AttentionTensors, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """SDPA with the problem's scale and grouping; causal where there is no mask."""
    from torch.nn.functional import scaled_dot_product_attention

    if problem.latent and mask is None and not problem.causal:
        answer = scaled_dot_product_attention(_heads_as_rows(q, k), k, v, scale=problem.softmax_scale)
        return answer.reshape(*q.shape[:3], v.shape[3])  # a GPU lays rows before heads
    return scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=problem.causal and mask is None,
        scale=problem.scale,
        enable_gqa=problem.heads != problem.kv_heads,
    )


def sdpa_mask(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """The attn_mask that makes SDPA compute the problem; None where is_causal says it all.

    It is boolean where only keys are hidden, else of the type of the inputs.
    """
    extras = problem.extras(inputs)
    if not problem.is_banded and not extras.keys() & {"bias", "mask", "slopes"}:
        return None
    if problem.bias and not problem.alibi and not problem.band.is_limited:
        mask = extras["bias"]
    else:
        mask = _additive_mask(problem, inputs)
    if mask is None or mask.shape[3] == problem.seq_kv:
        return mask
    return mask.expand(*mask.shape[:3], problem.seq_kv).contiguous()  # SDPA's kernels read several keys at once


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
        return [(baselines(own, target), its) for _, own, its in attention_sequences.sequences(problem, inputs)]

    kept = _Kept(parts)

    def over(name: str) -> Baseline:
        def joined(*inputs: torch.Tensor) -> torch.Tensor:
            answers = [own[name](*its) for own, its in kept.of(inputs)]
            return torch.cat([out for out in answers if not isinstance(out, tuple)], dim=2)  # there is one output

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
    for number, own, its in attention_sequences.sequences(problem, inputs):
        mask = _additive_mask(own, its)
        added[number, :, :, : own.seq_kv] = True if mask is None else mask[0]
    keys, values = (attention_sequences.padded(problem, each, extras.get("block_table")) for each in (k, v))
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
        q = _heads_as_rows(q, k)
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
        out = torch.matmul(_heads_as_rows(weights, k), v).reshape(problem.output_shape())
    else:
        out = torch.matmul(weights, v)
    if not problem.lse:
        return out
    sums = torch.logsumexp(logits.float(), dim=-1)
    return out, sums if sinks is None else torch.logaddexp(sums, sinks[:, None])


def _heads_as_rows(tensor: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """(batch, heads, rows, n) with the heads that share keys below each other: (batch, kv_heads, group * rows, n)."""
    return tensor.reshape(k.shape[0], k.shape[1], -1, tensor.shape[3])


def _additive_mask(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor | None:
    """What is added to the products: (batch or 1, heads or 1, rows or 1, keys), boolean where it only hides keys."""
    import torch

    extras = problem.extras(inputs)
    q = inputs[0]
    if not extras.keys() & {"bias", "slopes"}:
        parts = [extras["mask"]] if problem.mask else []
        parts += [_band_mask(problem, q.device)[None, None]] if problem.band.is_limited else []
        return functools.reduce(torch.logical_and, parts) if parts else None
    rows = torch.arange(problem.seq_q, device=q.device)
    over_batch = any(name in extras and extras[name].shape[0] > 1 for name in ("bias", "mask"))
    heads = torch.arange(problem.heads * (problem.batch if over_batch else 1), device=q.device)
    unit = torch.zeros((len(heads), problem.seq_q, problem.seq_kv), dtype=torch.float32, device=q.device)
    added, _ = scores(problem, unit, heads, rows, extras)
    return added.to(q.dtype).view(-1, problem.heads, problem.seq_q, problem.seq_kv)


def _fused(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    """As a fused kernel computes it: scores and sums in float32, weights before their division in the inputs' type."""
    import torch

    q, k, v = problem.qkv(inputs)
    group = problem.heads // problem.kv_heads
    out = torch.empty(problem.output_shape(), dtype=q.dtype, device=q.device)
    flat, extras = out.flatten(0, 1), problem.extras(inputs)
    rows = torch.arange(problem.seq_q, device=q.device)
    heads = max(1, PLAIN_SCORES // (problem.seq_q * problem.seq_kv))
    for place in torch.arange(problem.batch * problem.heads, device=q.device).split(heads):
        batch, head = place // problem.heads, place % problem.heads
        keys, values = k[batch, head // group].float(), v[batch, head // group].float()
        logits, _ = scores(problem, q[batch, head].float() @ keys.mT, place, rows, extras)
        largest = logits.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).min)
        weights = (logits - largest).exp()
        total = weights.sum(dim=-1, keepdim=True)
        if "sinks" in extras:
            total = total + (extras["sinks"][head][:, None, None] - largest).exp()
        answer = weights.to(q.dtype).float() @ values / total
        flat[place] = answer.masked_fill((logits == -math.inf).all(dim=-1, keepdim=True), 0.0).to(q.dtype)
    return out


def _log_sum_exp(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    import torch

    q, k, _ = problem.qkv(inputs)
    lse = torch.empty(problem.output_shape()[:3], dtype=torch.float32, device=q.device)
    flat, extras = lse.flatten(0, 1), problem.extras(inputs)
    rows = torch.arange(problem.seq_q, device=q.device)
    heads = max(1, PLAIN_SCORES // (problem.seq_q * problem.seq_kv))
    for place in torch.arange(problem.batch * problem.heads, device=q.device).split(heads):
        batch, head = place // problem.heads, place % problem.heads
        keys = k[batch, head // (problem.heads // problem.kv_heads)].float()
        logits, _ = scores(problem, q[batch, head].float() @ keys.mT, place, rows, extras)
        flat[place] = log_sum_exp(logits, extras["sinks"][head] if "sinks" in extras else None)
    return lse


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


def _band_mask(problem: AttentionTensors, device: torch.device) -> torch.Tensor:
    import torch

    rows, keys = (torch.arange(size, device=device) for size in (problem.seq_q, problem.seq_kv))
    return problem.band.visible(rows, keys)
