"""Scaled-dot-product attention, the first problem: out = softmax(scale q k^T) v, causal or not, with grouped heads."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evoflash.problems import adversaries, attention_cases
from evoflash.problems.base import PLAIN_BASELINE, Baseline, Bounds, Case, Inputs, Problem

if TYPE_CHECKING:
    import torch

DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}

# The absolute caps are necessary and far from sufficient: a 2 % error of the softmax scale passes them alone.
MAX_ERROR_CAP = 0.06
MEAN_ERROR_CAP = 0.02

# The reference is computed in slices of at most this many scores, so that long sequences fit in memory.
REFERENCE_SCORES = 2**24

GRID_HEIGHT = 65_535  # of a CUDA grid: its second and third dimension


class AttentionArguments(ctypes.Structure):
    """The twin of `EvoflashAttention` in templates/include/attention.h."""

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

    q is (batch, heads, seq_q, head_dim), k and v are (batch, kv_heads, seq_kv, head_dim), the output is like q.
    `causal` is top-left as in PyTorch's `is_causal`: row i sees the keys j <= i. `scale` None means 1 /
    sqrt(head_dim).
    """

    kind: ClassVar[str] = "attention"

    batch: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    seq_q: int = Field(ge=1)
    seq_kv: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    causal: bool = False
    scale: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _grouped(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        return self

    @classmethod
    def of(cls, batch: int, heads: int, seq: int, head_dim: int, **more: Any) -> Self:
        """A square problem from batch, heads, length and head size; keywords override any field."""
        sizes = {"batch": batch, "heads": heads, "kv_heads": heads, "seq_q": seq, "seq_kv": seq, "head_dim": head_dim}
        return cls(**{**sizes, **more})

    @property
    def label(self) -> str:
        """batch x heads(kv_heads) x length x head size, dtype, causal."""
        heads = f"{self.heads}" if self.heads == self.kv_heads else f"{self.heads}({self.kv_heads})"
        lengths = f"{self.seq_q}" if self.seq_q == self.seq_kv else f"{self.seq_q}:{self.seq_kv}"
        return f"{self.batch}x{heads}x{lengths}x{self.head_dim} {self.dtype}" + (" causal" if self.causal else "")

    @property
    def softmax_scale(self) -> float:
        """The factor on the scores."""
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
        """4 * batch * heads * head_dim * (pairs of query and visible key)."""
        if self.causal:
            square = min(self.seq_q, self.seq_kv)
            pairs = square * (square + 1) // 2 + max(0, self.seq_q - self.seq_kv) * self.seq_kv
        else:
            pairs = self.seq_q * self.seq_kv
        return 4 * self.batch * self.heads * self.head_dim * pairs

    @property
    def min_bytes(self) -> int:
        """q and out once, k and v once."""
        queries = 2 * self.batch * self.heads * self.seq_q
        keys = 2 * self.batch * self.kv_heads * self.seq_kv
        return (queries + keys) * self.head_dim * DTYPE_BYTES[self.dtype]

    def cases(self) -> tuple[Case, ...]:
        """The fifteen base cases, then odd lengths, causal, grouped heads and adversaries at this head size."""
        return attention_cases.known(self, tuple(DTYPES.values()))

    def fresh_cases(self, seed: int) -> tuple[Case, ...]:
        """The problem itself, shapes drawn by the seed, and more heads than a grid is high."""
        return attention_cases.fresh(self, seed)

    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """q, k, v from a seeded normal distribution; see `adversaries` for the variants: some change strides only."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(shape, generator=generator) for shape in self.input_shapes())
        dtype = getattr(torch, self.dtype)
        made = [tensor.to(device=device, dtype=dtype) for tensor in adversaries.inputs(variant, q, k, v)]
        return adversaries.laid_out(variant, *made)

    def mirror(self, inputs: Inputs) -> bool:
        """All three negated: the scores stay what they are, and the values change their sign.

        By the sign bit, since a GPU's negation of a NaN gives another NaN.
        """
        import torch

        for tensor in inputs:
            if tensor.element_size() == 2:
                tensor.view(torch.int16).bitwise_xor_(-(2**15))
            else:
                tensor.view(torch.int32).bitwise_xor_(-(2**31))
        return True

    def unspecified(self, inputs: Inputs) -> torch.Tensor | None:
        """Where a causal mask hides a NaN: 0 * NaN is NaN in SDPA's math backend, and a fused kernel skips what it can.

        So rows that see a NaN key or value must hold a NaN, and rows that do not may.
        """
        _, k, v = inputs
        hidden = (k.isnan().flatten(2).any(dim=2)[..., None] | v.isnan().any(dim=2))[:, :, None]
        if not self.causal or not bool(hidden.any().item()):
            return None
        return hidden.repeat_interleave(self.heads // self.kv_heads, dim=1).expand(self.output_shape())

    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of q, k and v."""
        keys = (self.batch, self.kv_heads, self.seq_kv, self.head_dim)
        return (self.output_shape(), keys, keys)

    def output_shape(self) -> tuple[int, ...]:
        """Like q."""
        return (self.batch, self.heads, self.seq_q, self.head_dim)

    def reference(self, inputs: Inputs) -> torch.Tensor:
        """float64 throughout, a slice of heads and rows at a time; a NaN is in the rows that see it, no other."""
        import torch

        q, k, v = inputs
        out = torch.empty(self.output_shape(), dtype=torch.float64, device=q.device)
        flat, group = out.flatten(0, 1), self.heads // self.kv_heads
        rows = min(self.seq_q, max(1, REFERENCE_SCORES // self.seq_kv))
        heads = max(1, REFERENCE_SCORES // (rows * self.seq_kv))
        columns = torch.arange(self.seq_kv, device=q.device)
        for first in range(0, len(flat), heads):
            place = torch.arange(first, min(first + heads, len(flat)), device=q.device)
            batch, head = place // self.heads, place % self.heads
            queries, keys, values = (
                tensor[batch, which].double() for tensor, which in ((q, head), (k, head // group), (v, head // group))
            )
            lost = values.isnan()
            has_nan = bool(lost.any().item())
            values = values.masked_fill(lost, 0.0) if has_nan else values
            for start in range(0, self.seq_q, rows):
                scores = queries[:, start : start + rows] @ keys.mT * self.softmax_scale
                numbers = torch.arange(start, start + scores.shape[1], device=q.device)
                visible = columns[None, :] <= numbers[:, None] if self.causal else torch.ones_like(scores[0]).bool()
                if self.causal:
                    scores.masked_fill_(~visible, -math.inf)
                answer = torch.softmax(scores, dim=-1) @ values
                if has_nan:
                    answer.masked_fill_((visible.double() @ lost.double()) > 0, math.nan)
                flat[first : first + heads, start : start + rows] = answer
        return out

    def plain(self, inputs: Inputs) -> torch.Tensor:
        """SDPA as PyTorch chooses it, on contiguous copies, and on as many heads at a time as a grid is high.

        Its errors do not depend on strides, but cuDNN's backend reads beside rows that are not aligned; and it fails,
        as PyTorch 2.11 calls it, where there are more heads than that.
        """
        import torch

        group = self.heads // self.kv_heads
        keys = max(1, GRID_HEIGHT // group)
        sizes = (keys * group, keys, keys)
        slices = (each.split(size, dim=1) for each, size in zip(inputs, sizes, strict=True))
        answers = [self._sdpa(*(each.contiguous() for each in part)) for part in zip(*slices, strict=True)]
        return torch.cat(answers, dim=1) if len(answers) > 1 else answers[0]

    def bounds(self, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """rms <= 2 SDPA's, max <= 3 SDPA's + the output type's rounding, and the absolute caps.

        SDPA can be exact by luck on a few values (one key, say), so its rms counts as at least what rounding to the
        output type leaves on average, unit roundoff / sqrt(3).
        """
        finite = reference[reference.isfinite()]
        largest = finite.abs().max().item() if finite.numel() else 0.0
        rms = finite.square().mean().sqrt().item() if finite.numel() else 0.0
        rounding = UNIT_ROUNDOFF[self.dtype]
        return Bounds(
            max_error=min(3 * plain_max + rounding * largest, MAX_ERROR_CAP),
            rms_error=2 * max(plain_rms, rounding * rms / math.sqrt(3)),
            mean_error=MEAN_ERROR_CAP,
        )

    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """SDPA's backends by name, and the eager matmul-softmax-matmul.

        On a CPU: sdpa (the fused one, as PyTorch chooses it), sdpa-math (the plain one) and eager.
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
        """Pointers, sizes and strides in elements; the last stride of every tensor must be 1."""
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
