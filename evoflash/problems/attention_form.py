"""The form of an attention problem: its fields, how they are spelled, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from evoflash.problems import paging
from evoflash.problems.band import Band
from evoflash.problems.base import Problem

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "bool": 1, "int32": 4}

MOST = 2**31 - 1  # of a size: kernels are given int32

# Of scales other than 0. Kernels are given a float32; and under a larger one, float16 has no normal numbers for queries
# whose scores are of order 1.
SCALES = (1e-30, 1e3)

# The fields beyond sizes, type, causal mask and scale. Families name those that they take.
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
        words += ["lse"] if self.lse else []
        return " ".join(words)

    @property
    def features(self) -> tuple[str, ...]:
        """Which of `FEATURES` it has."""
        defaults = type(self).model_fields
        return tuple(name for name in FEATURES if getattr(self, name) != defaults[name].default)

    def to_dict(self) -> dict[str, Any]:
        """Its kind and fields as plain data, without features that it does not have."""
        own = super().to_dict()
        return {name: value for name, value in own.items() if name not in FEATURES or name in self.features}

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
    def band(self) -> Band:
        """Which keys a row of a sequence of seq_kv keys sees, but for those that a mask hides."""
        return self.band_of(self.seq_kv)

    def band_of(self, keys: int) -> Band:
        """The same for a sequence of so many keys."""
        left, right = self.window or (None, 0 if self.causal else None)
        return Band(keys - self.seq_q if self.align == "bottom_right" else 0, left, right)

    @property
    def is_banded(self) -> bool:
        """Whether its band is more than a causal mask, aligned top-left."""
        return self.window is not None or (self.causal and self.align == "bottom_right")

    @property
    def is_taken_by_sdpa(self) -> bool:
        """Whether SDPA can compute its first output, with a mask, from its inputs as they are."""
        return not self.softcap and not self.sinks and not self.is_scattered

    @property
    def is_scattered(self) -> bool:
        """Whether keys and values are anything but one dense tensor: of uneven lengths, or in pages."""
        return bool(self.lengths) or self.page_size is not None

    def facts(self) -> dict[str, Any]:
        """Sizes, `dtype`, `dtype_bytes`, `causal`, `rows` = batch * heads * seq_q, and what its features come to.

        `banded`: a window, or a causal mask that is aligned bottom-right; `window_left` and `window_right`: -1 for no
        limit; `capped`, `biased`, `masked`, `alibi` and `sinks`: whether scores are changed so; `latent`; `ragged`:
        sequences have lengths of their own; `page_size`: 0 without pages; `lse`: whether there is a second output.
        """
        return {
            **self.model_dump(exclude={"scale", *FEATURES}),
            "dtype_bytes": DTYPE_BYTES[self.dtype],
            "rows": self.batch * self.heads * self.seq_q,
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
            "ragged": bool(self.lengths),
            "page_size": self.page_size or 0,
            "lse": self.lse,
        }

    @property
    def flops(self) -> int:
        """2 * heads * (head_dim + value_dim) * (pairs of a query and a key that its band lets it see)."""
        pairs = sum(self.band_of(keys).pairs(self.seq_q, keys) for keys in self.key_lengths)
        return 2 * self.heads * (self.head_dim + self.value_size) * pairs
