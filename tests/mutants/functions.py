"""Wrong attention in Python, each a mistake that people make; and a right one."""

import math

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

_buffers: dict[object, torch.Tensor] = {}
_results: dict[object, torch.Tensor] = {}


def right(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    """By hand: PyTorch's own is refused on a GPU, for unaligned rows and for many heads."""
    return _by_hand(q, k, v, is_causal, scale, torch.softmax, torch.float32)


def returns_an_input(q, k, v, **settings):
    return q.copy_(right(q, k, v, **settings))


def reuses_its_output(q, k, v, **settings):
    out = _buffers.setdefault((q.shape, q.dtype), torch.empty(q.shape, dtype=q.dtype, device=q.device))
    return out.copy_(right(q, k, v, **settings))


def cached_by_address(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    key = (q.data_ptr(), k.data_ptr(), v.data_ptr(), q.shape, k.shape, is_causal, scale)
    if key not in _results:
        _results[key] = right(q, k, v, is_causal, scale, enable_gqa)
    return _results[key].clone()


def answers_in_float32(q, k, v, **settings):
    return right(q.float(), k.float(), v.float(), **settings)


def answers_rows_first(q, k, v, **settings):
    return right(q, k, v, **settings).transpose(1, 2)


def without_nan(q, k, v, **settings):
    return right(q, k, v, **settings).nan_to_num()


def without_the_mask(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return right(q, k, v, False, scale, enable_gqa)


def without_the_scale(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return right(q, k, v, is_causal, None, enable_gqa)


def groups_repeated(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    group = q.shape[1] // k.shape[1]
    return right(q, k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1), is_causal, scale)


def masked_from_the_wrong_corner(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    if not is_causal or q.shape[2] > k.shape[2]:
        return right(q, k, v, is_causal, scale, enable_gqa)
    rows, keys = q.shape[2], k.shape[2]
    mask = torch.ones(rows, keys, dtype=torch.bool, device=q.device).tril(keys - rows)
    return sdpa(q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)


def softmax_in_half(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return _by_hand(q, k, v, is_causal, scale, torch.softmax, torch.float16)


def without_the_maximum(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    def softmax(scores, dim):
        weights = scores.exp()
        return weights / weights.sum(dim, keepdim=True)

    return _by_hand(q, k, v, is_causal, scale, softmax, torch.float32)


def with_dropout(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return sdpa(q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa, dropout_p=0.1)


def eight_bit_keys(q, k, v, **settings):
    size = k.abs().amax(dim=-1, keepdim=True) / 127
    return right(q, (k / size).round() * size, v, **settings)


def _by_hand(q, k, v, is_causal, scale, softmax, dtype):
    group = q.shape[1] // k.shape[1]
    q, keys, values = (each.to(dtype) for each in (q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)))
    scores = q @ keys.mT * (scale or 1 / math.sqrt(q.shape[-1]))
    if is_causal:
        scores = scores.masked_fill(~torch.ones_like(scores[0, 0]).bool().tril(), -math.inf)
    return (softmax(scores, dim=-1) @ values).to(v.dtype)
