"""Scaled-dot-product attention: out = softmax(scale q k^T) v, optionally causal, with grouped heads."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evoflash.problems import adversaries, attention_cases, attention_reference
from evoflash.problems.base import PLAIN_BASELINE, Baseline, Bounds, Case, Inputs, Problem

if TYPE_CHECKING:
    import torch

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}

MOST = 2**31 - 1  # of a size: kernels are given int32

# Of scales other than 0. Kernels are given a float32; and under a larger one, float16 has no normal numbers for queries
# whose scores are of order 1.
SCALES = (1e-30, 1e3)

# The absolute caps are necessary but not sufficient: a 2 % error of the softmax scale is within them.
MAX_ERROR_CAP = 0.06
MEAN_ERROR_CAP = 0.02
CAPPED_OUTPUT = 8.0  # up to this magnitude, which no average of normal values reaches; beyond, the caps grow with it

# float32's smallest normal number. Vector units for bfloat16 take what is smaller for zero.
SMALLEST_NORMAL = 2.0**-126

GRID_HEIGHT = 65_535  # the limit on the second and third dimension of a CUDA grid


class AttentionArguments(ctypes.Structure):
    """The ctypes equivalent of `EvoflashAttention` in templates/include/attention.h."""

    _fields_ = [
        ("q", ctypes.c_void_p),
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("batch", "heads", "kv_heads", "seq_q", "seq_kv", "head_dim")),
        *((f"{name}_stride", ctypes.c_int64 * 3) for name in ("q", "k", "v", "out")),
        ("scale", ctypes.c_float),
        ("causal", ctypes.c_int32),
    ]


class AttentionProblem(Problem):
    """Attention of one size.

    q has the shape (batch, heads, seq_q, head_dim), k and v have (batch, kv_heads, seq_kv, head_dim), and the output
    has the shape of q. The causal mask is aligned top-left, as with PyTorch's `is_causal`: row i sees the keys j <= i.
    A `scale` of None means 1 / sqrt(head_dim).
    """

    kind: ClassVar[str] = "attention"

    batch: int = Field(ge=1, le=MOST)
    heads: int = Field(ge=1, le=MOST)
    kv_heads: int = Field(ge=1, le=MOST)
    seq_q: int = Field(ge=1, le=MOST)
    seq_kv: int = Field(ge=1, le=MOST)
    head_dim: int = Field(ge=1, le=MOST)
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    causal: bool = False
    scale: float | None = Field(None, allow_inf_nan=False)

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
        """batch x heads(kv_heads) x length x head size, dtype, causal; e.g. "1x8x512x64 float16"."""
        heads = f"{self.heads}" if self.heads == self.kv_heads else f"{self.heads}({self.kv_heads})"
        lengths = f"{self.seq_q}" if self.seq_q == self.seq_kv else f"{self.seq_q}:{self.seq_kv}"
        return f"{self.batch}x{heads}x{lengths}x{self.head_dim} {self.dtype}" + (" causal" if self.causal else "")

    @property
    def softmax_scale(self) -> float:
        """The factor of the scores."""
        return self.scale if self.scale is not None else 1.0 / math.sqrt(self.head_dim)

    def facts(self) -> dict[str, Any]:
        """Sizes, `dtype`, `dtype_bytes`, `causal`, and `rows` = batch * heads * seq_q."""
        return {
            **self.model_dump(exclude={"scale"}),
            "dtype_bytes": DTYPE_BYTES[self.dtype],
            "rows": self.batch * self.heads * self.seq_q,
        }

    @property
    def flops(self) -> int:
        """4 * batch * heads * head_dim * (number of pairs of a query and a visible key)."""
        if self.causal:
            square = min(self.seq_q, self.seq_kv)
            pairs = square * (square + 1) // 2 + max(0, self.seq_q - self.seq_kv) * self.seq_kv
        else:
            pairs = self.seq_q * self.seq_kv
        return 4 * self.batch * self.heads * self.head_dim * pairs

    @property
    def min_bytes(self) -> int:
        """The bytes of q, k, v and the output."""
        queries = 2 * self.batch * self.heads * self.seq_q
        keys = 2 * self.batch * self.kv_heads * self.seq_kv
        return (queries + keys) * self.head_dim * DTYPE_BYTES[self.dtype]

    def cases(self) -> tuple[Case, ...]:
        """The fifteen base cases, then odd lengths, causal masks, grouped heads, adversaries and extreme numbers at
        this head size.
        """
        return attention_cases.standard_cases(self, tuple(DTYPES.values()))

    @property
    def general_case(self) -> Case:
        """Lengths that no kernel made for its own lengths takes."""
        return attention_cases.general_case(self, tuple(DTYPES.values()))

    def random_cases(self, seed: int) -> tuple[Case, ...]:
        """The problem itself, also with keys of -inf, random shapes, and more heads than the height of a grid."""
        return attention_cases.random_cases(self, seed)

    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """q, k, v from a seeded normal distribution, changed according to the variant (see `adversaries`).

        Under a scale above the default q is smaller in proportion, as in models that have one: with larger scores a
        softmax is so ill-conditioned that two right kernels differ by more than the bounds.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(shape, generator=generator) for shape in self.input_shapes())
        q /= max(1.0, abs(self.softmax_scale) * math.sqrt(self.head_dim))
        dtype = getattr(torch, self.dtype)
        made = [tensor.to(device=device, dtype=dtype) for tensor in adversaries.with_values(variant, q, k, v, dtype)]
        return adversaries.with_layout(variant, *made)

    def mirror(self, inputs: Inputs) -> bool:
        """Negates q, k and v in place: the scores do not change, and the output changes its sign.

        It flips the sign bits, since a GPU's negation may change the payload of a NaN.
        """
        import torch

        for tensor in inputs:
            if tensor.element_size() == 2:
                tensor.view(torch.int16).bitwise_xor_(-(2**15))
            else:
                tensor.view(torch.int32).bitwise_xor_(-(2**31))
        return True

    def reference(self, inputs: Inputs) -> torch.Tensor:
        """The output in float64; a row whose scores are all -inf is 0 (see `attention_reference`)."""
        return attention_reference.reference(self, inputs)

    def unspecified(self, inputs: Inputs) -> torch.Tensor | None:
        """Where a NaN is accepted as well: behind a causal mask, and in rows whose scores are all -inf."""
        return attention_reference.unspecified(self, inputs)

    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of q, k and v."""
        keys = (self.batch, self.kv_heads, self.seq_kv, self.head_dim)
        return (self.output_shape(), keys, keys)

    def output_shape(self) -> tuple[int, ...]:
        """The shape of q."""
        return (self.batch, self.heads, self.seq_q, self.head_dim)

    def plain(self, inputs: Inputs) -> torch.Tensor:
        """SDPA with PyTorch's default backend, on contiguous copies and at most `GRID_HEIGHT` heads at a time.

        The copies are needed because the cuDNN backend reads outside unaligned rows, and the slices because it fails
        with more heads (PyTorch 2.11).
        """
        import torch

        group = self.heads // self.kv_heads
        keys = max(1, GRID_HEIGHT // group)
        sizes = (keys * group, keys, keys)
        slices = (each.split(size, dim=1) for each, size in zip(inputs, sizes, strict=True))
        answers = [self._sdpa(*(each.contiguous() for each in part)) for part in zip(*slices, strict=True)]
        return torch.cat(answers, dim=1) if len(answers) > 1 else answers[0]

    def bounds(self, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """rms <= 2 * SDPA's, max <= 3 * SDPA's + the rounding of the output type, and the absolute caps.

        SDPA can happen to be exact on a few values (for example with one key). So its rms error counts as at least the
        rms of rounding to the output type, unit roundoff / sqrt(3). Numbers below float32's smallest normal one may
        count as zero.
        """
        finite = reference[reference.isfinite()]
        largest = finite.abs().max().item() if finite.numel() else 0.0
        rms = finite.square().mean().sqrt().item() if finite.numel() else 0.0
        rounding = UNIT_ROUNDOFF[self.dtype]
        magnitude = max(1.0, largest / CAPPED_OUTPUT)
        return Bounds(
            max_error=min(3 * plain_max + rounding * largest, MAX_ERROR_CAP * magnitude) + SMALLEST_NORMAL,
            rms_error=2 * max(plain_rms, rounding * rms / math.sqrt(3)) + SMALLEST_NORMAL,
            mean_error=MEAN_ERROR_CAP * magnitude,
        )

    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """SDPA's backends by name, and eager matmul-softmax-matmul.

        On a CPU: sdpa (the default, fused backend), sdpa-math (the unfused one) and eager.
        """
        from torch.nn.attention import SDPBackend

        if target == "cpu":
            named: dict[str, Baseline] = {"sdpa": self._sdpa, PLAIN_BASELINE: self._backend(SDPBackend.MATH)}
        else:
            backends = {
                "sdpa-cudnn": SDPBackend.CUDNN_ATTENTION,
                "sdpa-flash": SDPBackend.FLASH_ATTENTION,
                "sdpa-efficient": SDPBackend.EFFICIENT_ATTENTION,
                PLAIN_BASELINE: SDPBackend.MATH,
            }
            named = {name: self._backend(backend) for name, backend in backends.items()}
        return {**named, "eager": self._eager}

    def arguments(self, inputs: Inputs, out: torch.Tensor) -> ctypes.Structure:
        """Pointers, sizes, and strides in elements; the last stride of every tensor must be 1."""
        q, k, v = inputs
        strides = [(ctypes.c_int64 * 3)(*tensor.stride()[:3]) for tensor in (q, k, v, out)]
        return AttentionArguments(
            q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), None,
            self.batch, self.heads, self.kv_heads, self.seq_q, self.seq_kv, self.head_dim,
            *strides, self.softmax_scale, int(self.causal),
        )  # fmt: skip

    def _sdpa(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import scaled_dot_product_attention

        return scaled_dot_product_attention(
            q, k, v, is_causal=self.causal, scale=self.scale, enable_gqa=self.heads != self.kv_heads
        )

    def _backend(self, backend: Any) -> Baseline:
        def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            from torch.nn.attention import sdpa_kernel

            with sdpa_kernel(backend):
                return self._sdpa(q, k, v)

        return run

    def _eager(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        import torch

        if self.heads != self.kv_heads:
            k, v = (tensor.repeat_interleave(self.heads // self.kv_heads, dim=1) for tensor in (k, v))
        scores = torch.matmul(q, k.transpose(-2, -1)) * self.softmax_scale
        if self.causal:
            scores = scores.masked_fill(~_causal_mask(self.seq_q, self.seq_kv, str(q.device)), -math.inf)
        return torch.matmul(torch.softmax(scores, dim=-1), v)


@functools.lru_cache(maxsize=4)
def _causal_mask(rows: int, columns: int, device: str) -> torch.Tensor:
    import torch

    return torch.ones(rows, columns, dtype=torch.bool, device=device).tril()
