"""Scaled-dot-product attention: out = softmax(scores) v with grouped heads, masks, and what models do to scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from evoflash.problems import dtypes
from evoflash.problems.attention import (
    adversaries,
    baselines,
    cases,
    plain,
    quantization,
    reference,
    rivals,
    scores,
    sdpa,
    sequences,
)
from evoflash.problems.attention.form import DTYPES
from evoflash.problems.attention.members import ATTENTION
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Baseline, Bounds, Case, Inputs, Output, Outputs, Problem
from evoflash.problems.c_interface import CInterface
from evoflash.problems.rival import Rival

if TYPE_CHECKING:
    import torch

# Of a log-sum-exp: the errors of the exponentials that weigh values of this type, and the operations in float32 that
# each round it: the scale, the product, log2(e), the maximum, ln(2).
LSE_ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-11, "float32": 2.0**-21}
LSE_OPERATIONS = 5

# The absolute caps are necessary but not sufficient: a 2 % error of the softmax scale is within them.
MAX_ERROR_CAP = 0.06
MEAN_ERROR_CAP = 0.02
CAPPED_OUTPUT = 8.0  # up to this magnitude, which no average of normal values reaches; beyond, the caps grow with it

# float32's smallest normal number. Vector units for bfloat16 take what is smaller for zero.
SMALLEST_NORMAL = 2.0**-126


class AttentionProblem(AttentionTensors):
    """Attention of one size: what it computes, and how a kernel is compared with it.

    `AttentionForm` has its fields, `AttentionTensors` what it reads and writes.
    """

    kind: ClassVar[str] = "attention"
    plain_baseline: ClassVar[str] = "sdpa-math"

    def cases(self) -> tuple[Case, ...]:
        """The fifteen base cases, then odd lengths, causal masks, grouped heads, adversaries and extreme numbers at
        this head size.
        """
        return cases.standard_cases(self, tuple(DTYPES.values()))

    @property
    def general_case(self) -> Case:
        """Lengths that no kernel made for its own lengths takes."""
        return cases.general_case(self, tuple(DTYPES.values()))

    def sizes_taken(self, passed: Collection[str]) -> Literal["any", "some", "its own"]:
        """Some: another standard length or more."""
        taken = super().sizes_taken(passed)
        return "some" if taken == "its own" and cases.has_other_lengths(self, passed) else taken

    def hardest_cases(self) -> tuple[Case, ...]:
        """Lengths, values and layouts that wrong kernels fall on, one case of each."""
        return cases.hardest_cases(self, tuple(DTYPES.values()))

    def random_cases(self, seed: int) -> tuple[Case, ...]:
        """The problem itself, also with keys of -inf, random shapes, and more heads than the height of a grid."""
        return cases.random_cases(self, seed)

    def inputs(self, seed: int, variant: str, device: str) -> Inputs:
        """q, k, v from a seeded normal distribution, changed according to the variant (see `adversaries`). Of latent
        attention there are q and k.

        Under a scale above the default q is smaller in proportion, as in models that have one: with larger scores a
        softmax is so ill-conditioned that two right kernels differ by more than the bounds. Where keys and values are
        quantised, what is drawn is rounded to them.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        dense = self.model_copy(update={"page_size": None, "layout": "bhsd"}).input_shapes()[: self.leading_inputs]
        q = torch.randn(dense[0], generator=generator)
        k, *v = (sequences.draw(shape, generator) for shape in dense[1:])
        q /= max(1.0, abs(self.softmax_scale) * math.sqrt(self.head_dim))
        dtype = getattr(torch, self.dtype)
        if self.latent:
            changed = adversaries.with_latent_values(variant, q, k, self.value_size, dtype)
        else:
            changed = adversaries.with_values(variant, q, k, v[0], dtype)
        extras = scores.extra_values(self, variant, generator)
        q, *kv = changed
        if self.kv_dtype is not None:
            *kv, extras["k_scales"], extras["v_scales"] = quantization.quantized(variant, *kv)
        q = q.to(device=device, dtype=dtype)
        k, *v = (tensor.to(device=device, dtype=torch.uint8 if self.kv_dtype else dtype) for tensor in kv)
        types = (getattr(torch, name) for name in self.input_dtypes()[self.leading_inputs :])
        shapes = self.extra_shapes()
        for number, values in self.index_values(seed).items():
            name = list(shapes)[number - self.leading_inputs]
            extras[name] = torch.tensor(values, dtype=torch.int32).view(shapes[name])
        others = {name: extras[name].to(device=device, dtype=each) for name, each in zip(shapes, types, strict=True)}
        if self.is_packed:
            q = sequences.packed(q, self.query_lengths)
            k, *v = (sequences.packed(tensor, self.key_lengths) for tensor in (k, *v))
        elif self.is_scattered:
            table = others.get("block_table")
            k, *v = (sequences.stored(self, tensor, table) for tensor in (k, *v))
        if self.layout == "bshd":
            q, k, *v = (each.transpose(1, 2).contiguous().transpose(1, 2) for each in (q, k, *v))
        q, *kv = adversaries.with_layout(variant, q, k, *v)
        if self.kv_dtype is not None:
            kv = [tensor.view(getattr(torch, self.kv_dtype)) for tensor in kv]
        return (q, *kv, *others.values())

    def mirror(self, inputs: Inputs) -> tuple[int, ...]:
        """Negates q, k and v in place: the scores and their log-sum-exp do not change, and the output changes its sign.
        So it is where the values are columns of k.

        It flips the sign bits, since a GPU's negation may change the payload of a NaN.
        """
        import torch

        integers = {1: torch.int8, 2: torch.int16, 4: torch.int32}
        for tensor in inputs[: self.leading_inputs]:
            width = tensor.element_size()
            tensor.view(integers[width]).bitwise_xor_(-(2 ** (8 * width - 1)))
        return (-1, 1) if self.lse else (-1,)

    def unmasked(self, inputs: Inputs) -> tuple[Problem, Inputs] | None:
        """The same without window and mask, for a problem that has them."""
        if not self.is_banded and not self.mask:
            return None
        whole = {"causal": False, "window": None, "mask": "", **({} if self.alibi else {"align": "top_left"})}
        names = ("q", "k", "v")[: self.leading_inputs] + tuple(self.extras(inputs))
        kept = tuple(each for name, each in zip(names, inputs, strict=True) if name != "mask")
        return self.model_copy(update=whole), kept

    def reference(self, inputs: Inputs) -> Outputs:
        """The outputs in float64; a row whose scores are all -inf is 0 (see `reference`)."""
        return reference.reference(self, inputs)

    def unspecified(self, inputs: Inputs) -> tuple[torch.Tensor | None, ...]:
        """Where a NaN is accepted as well: behind a causal mask, and in rows whose scores are all -inf."""
        return reference.unspecified(self, inputs)

    def plain(self, inputs: Inputs) -> Outputs:
        """PyTorch's default backend of SDPA, where it takes the problem (see `plain`)."""
        return plain.plain(self, inputs)

    def bounds(self, output: Output, reference: torch.Tensor, plain_max: float, plain_rms: float) -> Bounds:
        """rms <= 2 * SDPA's, max <= 3 * SDPA's + the rounding of the output type, and the absolute caps.

        SDPA can happen to be exact on a few values (for example with one key). So its rms error counts as at least the
        rms of rounding to the output type, unit roundoff / sqrt(3). Numbers below float32's smallest normal one may
        count as zero.

        Of a log-sum-exp the same without the caps, where at least `LSE_ROUNDING` counts as the rms of rounding: an
        error of it is a relative error of whatever it weighs.
        """
        finite = reference[reference.isfinite()]
        largest = finite.abs().max().item() if finite.numel() else 0.0
        rms = finite.square().mean().sqrt().item() if finite.numel() else 0.0
        if output.name == "lse":
            own, relative = LSE_ROUNDING[self.dtype], LSE_OPERATIONS * dtypes.UNIT_ROUNDOFF["float32"]
            rounding_rms = (own + relative * rms) / math.sqrt(3)
            return Bounds(3 * plain_max + own + relative * largest, 2 * max(plain_rms, rounding_rms), math.inf)
        rounding = dtypes.UNIT_ROUNDOFF[self.dtype]
        magnitude = max(1.0, largest / CAPPED_OUTPUT)
        return Bounds(
            max_error=min(3 * plain_max + rounding * largest, MAX_ERROR_CAP * magnitude) + SMALLEST_NORMAL,
            rms_error=2 * max(plain_rms, rounding * rms / math.sqrt(3)) + SMALLEST_NORMAL,
            mean_error=MEAN_ERROR_CAP * magnitude,
        )

    def baselines(self, target: str) -> Mapping[str, Baseline]:
        """SDPA's backends by name, and eager matmul-softmax-matmul (see `baselines`)."""
        return baselines.baselines(self, target)

    def rivals(self, target: str) -> tuple[Rival, ...]:
        """FlashAttention 2, 3 and 4, xFormers, FlashInfer and FlexAttention; on a CPU FlexAttention and oneDNN's.

        For packed sequences SDPA of nested tensors, too.
        """
        return rivals.of_attention(target, self.is_packed)

    @property
    def c_interface(self) -> CInterface:
        """One for all forms (see `members`)."""
        return ATTENTION

    def named(self, inputs: Inputs, outputs: Outputs) -> Mapping[str, torch.Tensor | bool | int | float]:
        """q, k, v and what follows them (see `extra_shapes`), the outputs, `scale` and `causal`, and what numbers its
        features have.
        """
        q, k, v = self.qkv(inputs)
        written = {each.name: tensor for each, tensor in zip(self.outputs(), outputs, strict=True)}
        return {"q": q, "k": k, "v": v, **self.extras(inputs), **written, **self._numbers()}

    def _numbers(self) -> dict[str, bool | int | float]:
        numbers: dict[str, bool | int | float] = {"scale": self.softmax_scale, "causal": self.causal}
        if self.is_banded or self.alibi:
            numbers["diagonal"] = self.band.diagonal
        if self.is_banded:
            left, right = (-1 if side is None else side for side in (self.band.left, self.band.right))
            numbers |= {"banded": True, "window_left": left, "window_right": right}
        if self.softcap:
            numbers["softcap"] = self.softcap
        if self.is_packed:
            numbers["max_seqlen_q"] = self.seq_q
        if self.is_packed or self.page_size is not None:
            numbers["max_seqlen_k"] = self.seq_kv
        return numbers

    def call_of(self, function: Callable[..., Any], inputs: Inputs) -> Callable[[], Any]:
        """A call as of scaled_dot_product_attention (see `sdpa`)."""
        return sdpa.call_of(self, function, inputs)
