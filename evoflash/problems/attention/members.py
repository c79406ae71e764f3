"""What kernels of attention receive: one struct for all forms, of which most calls have few members."""

from __future__ import annotations

from evoflash.problems.c_interface import CInterface, NumberMember, TensorMember

ABOUT = """\
out[b, h, i] = softmax_j(s[b, h, i, j]) v[b, g, j] with g = h / (heads / kv_heads), and the scores \
s = cap(scale * q[b, h, i] . k[b, g, j]) + bias[b, h, i, j] - slopes[h] * |j - i - diagonal| where the row sees the \
key: within the window, and where mask[b, h, i, j] is not 0. cap(x) is softcap * tanh(x / softcap), or x for a softcap \
of 0. A head's sink is one more logit of the softmax, without a value. A row that sees no key is 0.
What a call does not have is absent: a tensor without data and of rank 0, a number that is 0. A kernel refuses what it \
does not know.
"""

ATTENTION = CInterface(
    name="attention",
    about=ABOUT,
    read=(
        TensorMember("q", "(batch, heads, rows, head size)"),
        TensorMember("k", "(batch, kv_heads, keys, head size), or (pages, keys of a page, kv_heads, head size)"),
        TensorMember("v", "as k with a value size; the first columns of k in latent attention"),
        TensorMember("bias", "of the dtype of q, (batch, heads, rows, keys), each of which may be 1 for all"),
        TensorMember("mask", "bool, of the same sizes: true where a key is seen"),
        TensorMember("slopes", "float32 (heads)"),
        TensorMember("sinks", "float32 (heads)"),
        TensorMember("lengths", "int32 (batch): keys of each sequence; its diagonal is that - rows"),
        TensorMember(
            "block_table",
            "int32 (batch, pages of a sequence): key j of sequence b is row j % P of page block_table[b, j / P], with "
            "pages of P keys. Keys and values beyond a sequence's last key, and pages beyond that of its last key, may "
            "be anything: NaN, numbers of pages that do not exist",
        ),
        TensorMember("k_scales", "float32 (kv_heads), at least 0: k is float8_e4m3fn, and counts times these"),
        TensorMember("v_scales", "float32 (kv_heads), the same of v"),
        TensorMember(
            "q_starts",
            "int32 (batch + 1), of packed sequences, which lie one after another: q and out then are (1, heads, rows "
            "of all, size), and sequence b has the rows q_starts[b] to q_starts[b + 1] - 1, up to max_seqlen_q of "
            "them; it may have none. Rows, keys, bias and mask are counted from its first; its diagonal is its keys - "
            "its rows",
        ),
        TensorMember("k_starts", "int32 (batch + 1), the same of k and v, (1, kv_heads, keys of all, size)"),
    ),
    written=(
        TensorMember("out", "(batch, heads, rows, value size)"),
        TensorMember(
            "lse",
            "float32 (batch, heads, rows), contiguous: of each row the natural logarithm of the sum of exp(s), over "
            "the keys that it sees, and of exp(sink) where there are sinks; -inf for a row that has nothing to add up",
        ),
    ),
    numbers=(
        NumberMember("scale", "double", "of the products of q and k"),
        NumberMember("causal", "int64_t", "1: row i sees the keys j <= i (top-left, as SDPA's is_causal)"),
        NumberMember(
            "banded", "int64_t", "1: row i sees the keys from i + diagonal - window_left to i + diagonal + window_right"
        ),
        NumberMember("diagonal", "int64_t"),
        NumberMember("window_left", "int64_t", "-1: no limit on that side"),
        NumberMember("window_right", "int64_t", "-1: no limit on that side"),
        NumberMember("softcap", "double"),
        NumberMember("max_seqlen_q", "int64_t", "rows of a sequence, at most; of packed sequences"),
        NumberMember("max_seqlen_k", "int64_t", "keys of a sequence, at most; of packed sequences and of pages"),
    ),
)
