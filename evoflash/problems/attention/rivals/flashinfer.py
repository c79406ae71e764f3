"""FlashInfer's kernels for serving: prefill and decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoflash.problems.attention.rivals import requirements
from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs
from evoflash.problems.rival import BoundCall, Rival

if TYPE_CHECKING:
    import torch

WORKSPACE_BYTES = 128 << 20  # of a FlashInfer wrapper, as its documentation recommends
TENSOR_CORE_GROUP = 4  # query heads per key head from which FlashInfer decodes faster on tensor cores
NO_LIMIT = -1  # of a window


class FlashInferPrefill(Rival):
    """FlashInfer's batch prefill with ragged keys and values, planned beforehand."""

    name = "flashinfer-prefill"
    module = "flashinfer"
    package = "flashinfer-python"

    def refusal(self, problem: AttentionTensors) -> str:
        """Takes float16 and bfloat16, and masks that are the same for all heads."""
        refused = (
            requirements.half_precision(problem)
            or _one_scale(problem)
            or requirements.features(problem, ("value_dim", "align", "window", "softcap", "mask"))
        )
        if not refused and "h" in problem.mask:
            return "it takes no mask that differs between heads"
        return refused or ("" if _needs_mask(problem) else requirements.bottom_right(problem))

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call on copies in the ragged layout (batch * length, heads, head size)."""
        import torch

        flashinfer = self.load()
        q, k, v = (tensor.transpose(1, 2).flatten(0, 1).contiguous() for tensor in problem.qkv(inputs))
        wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(_workspace(q), "NHD")
        rows, keys = (
            torch.arange(0, (problem.batch + 1) * length, length, dtype=torch.int32, device=q.device)
            for length in (problem.seq_q, problem.seq_kv)
        )
        masked = _needs_mask(problem)
        band = requirements.bottom_right_band(problem)
        wrapper.plan(
            rows,
            keys,
            problem.heads,
            problem.kv_heads,
            problem.head_dim,
            problem.value_size,
            custom_mask=_visible(problem, inputs) if masked else None,
            causal=not masked and band.right == 0,
            window_left=NO_LIMIT if masked or band.left is None else band.left,
            logits_soft_cap=problem.softcap or None,
            sm_scale=problem.softmax_scale,
            q_data_type=q.dtype,
        )
        return lambda: wrapper.run(q, k, v).unflatten(0, (problem.batch, problem.seq_q)).transpose(1, 2)


class FlashInferDecode(Rival):
    """FlashInfer's batch decode with a paged cache, planned beforehand: one page for each sequence."""

    name = "flashinfer-decode"
    module = "flashinfer"
    package = "flashinfer-python"

    def refusal(self, problem: AttentionTensors) -> str:
        """Takes float16 and bfloat16, and one query, which stands at the last key."""
        if problem.seq_q != 1:
            return f"it decodes one query at a time, not {problem.seq_q}"
        return (
            requirements.half_precision(problem)
            or _one_scale(problem)
            or requirements.features(problem, ("align", "window", "softcap"))
            or requirements.bottom_right(problem)
        )

    def bind(self, problem: AttentionTensors, inputs: Inputs) -> BoundCall:
        """A call on the tensors themselves, since pages may have the layout (heads, length, head size)."""
        import torch

        flashinfer = self.load()
        q, k, v = problem.qkv(inputs)
        grouped = problem.heads // problem.kv_heads >= TENSOR_CORE_GROUP
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(_workspace(q), "HND", use_tensor_cores=grouped)
        pages = torch.arange(problem.batch + 1, dtype=torch.int32, device=q.device)
        left = requirements.bottom_right_band(problem).left
        wrapper.plan(
            pages,
            pages[:-1],
            torch.full_like(pages[:-1], problem.seq_kv),
            problem.heads,
            problem.kv_heads,
            problem.head_dim,
            problem.seq_kv,
            window_left=NO_LIMIT if left is None else left,
            logits_soft_cap=problem.softcap or None,
            sm_scale=problem.softmax_scale,
            q_data_type=q.dtype,
        )
        return lambda: wrapper.run(q.squeeze(2), (k, v)).unsqueeze(2)


def _one_scale(problem: AttentionTensors) -> str:
    return "its scales of keys and of values are one for all heads" if problem.kv_dtype is not None else ""


def _needs_mask(problem: AttentionTensors) -> bool:
    """Whether the options for a causal mask and for a window to the left do not say it."""
    return bool(problem.mask) or requirements.bottom_right_band(problem).right not in (None, 0)


def _visible(problem: AttentionTensors, inputs: Inputs) -> torch.Tensor:
    """Which keys are seen, flattened: (batch * rows * keys)."""
    import torch

    rows, keys = (torch.arange(size, device=inputs[0].device) for size in (problem.seq_q, problem.seq_kv))
    visible = problem.band.visible(rows, keys)
    if problem.mask:
        visible = visible & problem.extras(inputs)["mask"][:, 0]
    return visible.expand(problem.batch, -1, -1).flatten()


def _workspace(like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=like.device)
