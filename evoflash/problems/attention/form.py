"""The form of an attention problem: its fields, how they are spelled, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evoflash.problems import dtypes
from evoflash.problems.attention import paging
from evoflash.problems.attention.band import Band
from evoflash.problems.base import Problem

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
KV_DTYPES = {"fp8": "float8_e4m3fn"}

MOST = 2**31 - 1  # of a size: kernels are given int32

# Of scales other than 0. Kernels are given a float32; and under a larger one, float16 has no normal numbers for queries
# whose scores are of order 1.
SCALES = (1e-30, 1e3)

# The fields beyond sizes, type, causal mask and scale. Families name those that they take: see `features`.
FEATURES = (
    "value_dim",
    "latent",
    "align",
    "window",
    "softcap",
    "bias",
    "mask",
    "alibi",
    "sinks",
    "lengths",
    "page_size",
    "kv_dtype",
    "layout",
    "lse",
)

DIMENSIONS = "bhqk"  # of a bias or mask: batch, query heads, query rows, keys
OVER = "^b?h?q?k?$"  # some of them, in order

Side = Annotated[int, Field(ge=0, le=MOST)] | None


class AttentionForm(Problem):
    """Attention of one size: its fields. `AttentionTensors` says what it reads and writes.

    `attention_scores` says what becomes of scores. A row that sees no key is 0.

    Attributes:
        causal: rows see no key after their own position.
        scale: of the products; None means 1 / sqrt(head_dim).
        value_dim: None means head_dim.
        latent: the values are the first value_dim columns of the keys, as in multi-head latent attention whose
            projections are absorbed into the queries and the output (DeepSeek-V2, arXiv:2405.04434): a key is the
            latent vector, followed by its rotary part.
        align: where row 0 stands: at key 0, as with PyTorch's `is_causal`, or so that the last row stands at the last
            key, as in FlashAttention.
        window: how many keys before and after its own position a row sees, None for all. With a causal mask none
            after.
        softcap: 0 for none.
        bias, mask: dimensions that an additive bias or a boolean mask extends over, of "bhqk" (batch, query heads,
            query rows, keys); empty for none. A mask is true where a key is seen.
        alibi, sinks: whether heads have slopes or sinks.
        lengths: which lengths sequences have (see `paging.draw_lengths`); empty for `seq_kv` each. The
            last row of a sequence stands at its last key.
        page_size: keys of a page, where keys and values are paged: k then has the shape (pages, page_size, kv_heads,
            head_dim). None: they are not.
        kv_dtype: of keys and values that are quantised, each of which is multiplied by a scale of its key-value head,
            at least 0 (see `quantization`); queries and output have `dtype`. None: keys and values have it, too.
        layout: in which order a row's place is written in memory: "bhsd" (batch, heads, length, size), or "bshd"
            (batch, length, heads, size), as after a projection. "packed": the sequences of a batch lie one after
            another, (rows of all, heads, size), as in `flash_attn_varlen_func`; each has as many keys as `lengths`
            says, and at most `seq_q` rows.
        lse: whether there is a second output, the natural logarithm of the sum of exp of each row's scores, as
            FlashAttention returns it: a sink is one of the summands, and a row that sees no key has -inf, or its
            head's sink.
    """

    batch: int = Field(ge=1, le=MOST)
    heads: int = Field(ge=1, le=MOST)
    kv_heads: int = Field(ge=1, le=MOST)
    seq_q: int = Field(ge=1, le=MOST)
    seq_kv: int = Field(ge=1, le=MOST)
    head_dim: int = Field(ge=1, le=MOST)
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    causal: bool = False
    scale: float | None = Field(None, allow_inf_nan=False)
    value_dim: int | None = Field(None, ge=1, le=MOST)
    latent: bool = False
    align: Literal["top_left", "bottom_right"] = "top_left"
    window: tuple[Side, Side] | None = None
    softcap: float = Field(0.0, ge=0.0, le=SCALES[1], allow_inf_nan=False)
    bias: str = Field("", pattern=OVER)
    mask: str = Field("", pattern=OVER)
    alibi: bool = False
    sinks: bool = False
    lengths: str = Field("", pattern=paging.LENGTHS)
    page_size: int | None = Field(None, ge=1, le=MOST)
    kv_dtype: Literal["float8_e4m3fn"] | None = None
    layout: Literal["bhsd", "bshd", "packed"] = "bhsd"
    lse: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, values: Any) -> Any:
        """Writes the same problem in the same way: equal problems are known by their fields."""
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        if values.get("value_dim") == values.get("head_dim"):
            values.pop("value_dim", None)
        window = values.get("window")
        if isinstance(window, list | tuple) and len(window) == 2:
            left, right = window[0], 0 if values.get("causal") else window[1]
            values["window"] = None if left is None and (right is None or values.get("causal")) else (left, right)
        if values.get("lengths"):
            values["lengths"] = paging.spelled(values["lengths"])
            if values.get("causal") or values.get("window") or values.get("alibi"):
                values.setdefault("align", "bottom_right")
        return values

    @model_validator(mode="after")
    def _masked(self) -> Self:
        if self.align == "bottom_right" and not (self.causal or self.window or self.alibi):
            raise ValueError("align means nothing without causal, window or alibi")
        if self.bias and self.mask:
            raise ValueError("either bias or mask: a bias of -inf hides a key as well")
        return self

    @model_validator(mode="after")
    def _columns_of_keys(self) -> Self:
        if self.latent and self.value_size > self.head_dim:
            raise ValueError(f"latent: a key of {self.head_dim} columns has no {self.value_size} columns of values")
        if self.latent and (self.lengths or self.page_size is not None):
            raise ValueError("latent: keys that are also values have no lengths and no pages")
        if self.latent and self.kv_dtype is not None:
            raise ValueError("latent: keys that are also values are not quantised")
        return self

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if not self.lengths:
            return self
        if self.align == "top_left" and (self.causal or self.window or self.alibi):
            raise ValueError("the rows of sequences with lengths stand at their ends: align is bottom_right")
        if max(self.key_lengths) > self.seq_kv:
            raise ValueError(f"lengths: one is longer than seq_kv ({self.seq_kv})")
        if not any(self.key_lengths):
            raise ValueError("lengths: no sequence has a key")
        return self

    @model_validator(mode="after")
    def _packed(self) -> Self:
        if not self.is_packed:
            return self
        if not self.lengths:
            raise ValueError("layout packed: the sequences need lengths")
        if self.latent or self.page_size is not None:
            raise ValueError("layout packed: neither latent values nor pages are packed")
        if self.kv_dtype is not None:
            raise ValueError("layout packed: quantised keys and values are those of caches, which are not packed")
        if self.lse:
            raise ValueError("layout packed: there is no log-sum-exp of packed sequences yet")
        if self.seq_q > self.seq_kv:
            raise ValueError(f"layout packed: a sequence has no more rows ({self.seq_q}) than keys ({self.seq_kv})")
        if sum(self.key_lengths) > MOST:
            raise ValueError(f"layout packed: the sequences have more than {MOST} keys")
        return self

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        low, high = SCALES
        if self.scale and not low <= abs(self.scale) <= high:
            raise ValueError(f"scale ({self.scale:g}) must be 0 or between {low:g} and {high:g} in magnitude")
        return self

    @classmethod
    def of(cls, batch: int, heads: int, seq: int, head_dim: int, **more: Any) -> Self:
        """A problem with equal lengths and ungrouped heads; keywords override any field."""
        sizes = {"batch": batch, "heads": heads, "kv_heads": heads, "seq_q": seq, "seq_kv": seq, "head_dim": head_dim}
        return cls(**{**sizes, **more})

    @property
    def label(self) -> str:
        """batch x heads(kv_heads) x length x head size, dtype, then what is not the default; "1x8x512x64 float16"."""
        heads = f"{self.heads}" if self.heads == self.kv_heads else f"{self.heads}({self.kv_heads})"
        lengths = f"{self.seq_q}" if self.seq_q == self.seq_kv else f"{self.seq_q}:{self.seq_kv}"
        size = f"{self.head_dim}" if self.value_dim is None else f"{self.head_dim}:{self.value_dim}"
        words = [f"{self.batch}x{heads}x{lengths}x{size}", self.dtype]
        words += ["latent"] if self.latent else []
        words += ["causal"] if self.causal else []
        words += [self.align.replace("_", "-")] if self.align != "top_left" else []
        if self.window is not None:
            words.append("window " + ":".join("" if side is None else str(side) for side in self.window))
        words += [f"softcap {self.softcap:g}"] if self.softcap else []
        words += [f"{name} {over}" for name, over in (("bias", self.bias), ("mask", self.mask)) if over]
        words += [name for name in ("alibi", "sinks") if getattr(self, name)]
        words += [f"lengths {self.lengths}"] if self.lengths else []
        words += [f"page {self.page_size}"] if self.page_size else []
        words += [f"kv {self.kv_dtype}"] if self.kv_dtype else []
        words += [self.layout] if self.layout != "bhsd" else []
        words += ["lse"] if self.lse else []
        return " ".join(words)

    @property
    def given(self) -> tuple[str, ...]:
        """Which of `FEATURES` are not as in a plain problem."""
        defaults = type(self).model_fields
        return tuple(name for name in FEATURES if getattr(self, name) != defaults[name].default)

    @property
    def features(self) -> tuple[str, ...]:
        """Which of `FEATURES` a kernel must know of: other strides are none, and "packed" stands for its lengths."""
        if self.is_packed:
            return (*(name for name in self.given if name not in ("lengths", "layout")), "packed")
        return tuple(name for name in self.given if name != "layout")

    def to_dict(self) -> dict[str, Any]:
        """Its kind and fields as plain data, without features that it does not have."""
        own = super().to_dict()
        return {name: value for name, value in own.items() if name not in FEATURES or name in self.given}

    @property
    def softmax_scale(self) -> float:
        """The factor of the scores."""
        return self.scale if self.scale is not None else 1.0 / math.sqrt(self.head_dim)

    @property
    def value_size(self) -> int:
        """The size of a value: value_dim or head_dim."""
        return self.value_dim if self.value_dim is not None else self.head_dim

    @property
    def key_lengths(self) -> tuple[int, ...]:
        """How many keys each sequence has."""
        return paging.draw_lengths(self.lengths, self.batch, self.seq_kv)

    @property
    def query_lengths(self) -> tuple[int, ...]:
        """How many rows each sequence has."""
        return tuple(self.rows_of(keys) for keys in self.key_lengths)

    def rows_of(self, keys: int) -> int:
        """How many rows a sequence of so many keys has: `seq_q`; where sequences are packed, no more than keys."""
        return min(self.seq_q, keys) if self.is_packed else self.seq_q

    @property
    def band(self) -> Band:
        """Which keys a row of a sequence of seq_kv keys sees, but for those that a mask hides."""
        return self.band_of(self.seq_kv)

    def band_of(self, keys: int) -> Band:
        """The same for a sequence of so many keys."""
        left, right = self.window or (None, 0 if self.causal else None)
        return Band(keys - self.rows_of(keys) if self.align == "bottom_right" else 0, left, right)

    @property
    def is_banded(self) -> bool:
        """Whether its band is more than a causal mask, aligned top-left. In packed sequences of as many rows as keys
        both alignments are one.
        """
        is_square = self.is_packed and self.seq_q == self.seq_kv
        return self.window is not None or (self.causal and self.align == "bottom_right" and not is_square)

    @property
    def is_taken_by_sdpa(self) -> bool:
        """Whether SDPA can compute its first output, with a mask, from its inputs as they are."""
        return not self.softcap and not self.sinks and not self.is_scattered and self.kv_dtype is None

    @property
    def is_packed(self) -> bool:
        """Whether its sequences lie one after another."""
        return self.layout == "packed"

    @property
    def is_scattered(self) -> bool:
        """Whether keys and values are anything but one dense tensor: of uneven lengths, or in pages."""
        return bool(self.lengths) or self.page_size is not None

    def facts(self) -> dict[str, Any]:
        """Sizes, `dtype`, `dtype_bytes`, `causal`, `rows` of all heads, and what its features come to.

        `banded`: a window, or a causal mask that is aligned bottom-right; `window_left` and `window_right`: -1 for no
        limit; `capped`, `biased`, `masked`, `alibi` and `sinks`: whether scores are changed so; `latent`; `ragged`:
        sequences have lengths of their own, in tensors with room for `seq_kv` keys of each; `page_size`: 0 without
        pages; `quantized`: keys and values have scales; `kv_bytes`: of an element of these; `packed`: sequences lie one
        after another; `lse`: whether there is a second output.
        """
        return {
            **self.model_dump(exclude={"scale", *FEATURES}),
            "dtype_bytes": dtypes.BYTES[self.dtype],
            "rows": self.heads * sum(self.query_lengths),
            "value_dim": self.value_size,
            "latent": self.latent,
            "banded": self.is_banded,
            "window_left": -1 if self.band.left is None else self.band.left,
            "window_right": -1 if self.band.right is None else self.band.right,
            "capped": self.softcap > 0,
            "biased": bool(self.bias),
            "masked": bool(self.mask),
            "alibi": self.alibi,
            "sinks": self.sinks,
            "ragged": bool(self.lengths) and not self.is_packed,
            "page_size": self.page_size or 0,
            "quantized": self.kv_dtype is not None,
            "kv_bytes": dtypes.BYTES[self.kv_dtype or self.dtype],
            "packed": self.is_packed,
            "lse": self.lse,
        }

    @property
    def flops(self) -> int:
        """2 * heads * (head_dim + value_dim) * (pairs of a query and a key that its band lets it see)."""
        pairs = sum(self.band_of(keys).pairs(self.rows_of(keys), keys) for keys in self.key_lengths)
        return 2 * self.heads * (self.head_dim + self.value_size) * pairs
