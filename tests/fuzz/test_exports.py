"""Random calls of an exported package against SDPA and attention in float64. `pytest -m long` makes 20,000.

On a GPU, `pytest -m gpu tests/fuzz/test_exports.py` makes 5,000 with CUDA kernels.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as sdpa

from tests.export.conftest import cache, load  # noqa: F401
from tests.fuzz.calls import Call, Kind, calls
from tests.fuzz.kernels import MOST_ROWS, PROBLEMS, write_package
from tests.fuzz.yardstick import fault, problem_of

relaxed = settings(
    deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
LENGTHS = (
    0,
    1,
    1,
    1,
    2,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    15,
    16,
    17,
    31,
    32,
    33,
    47,
    48,
    49,
    63,
    64,
    65,
    97,
    MOST_ROWS,
    MOST_ROWS + 1,
)
T = TypeVar("T")
Outcome = Tensor | Exception


def outcome(function: Callable[..., T], *arguments: Any, **options: Any) -> T | Exception:
    """What a call returns or raises. A call that loses the GPU ends the session: nothing can be tried after it."""
    try:
        result = function(*arguments, **options)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result
    except torch.AcceleratorError as error:
        told = [
            f"{tuple(each.shape)} {each.stride()} from {each.storage_offset()}"
            for each in arguments
            if isinstance(each, Tensor)
        ]
        pytest.exit(f"{function} lost the device ({str(error).splitlines()[0]}): {told}, {options}", returncode=1)
    except (RuntimeError, ValueError, TypeError) as error:
        return error


def are_same(one: Tensor, other: Tensor) -> bool:
    """Whether all numbers are equal, where a NaN equals a NaN."""
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


class Examination:
    """A call's inputs, and what is to be said of its outputs.

    Attributes:
        counts: what has been seen.
    """

    def __init__(self, module: ModuleType, call: Call, device: str):
        self.module, self.call, self.device = module, call, device
        self.counts: Counter[str] = Counter()
        made = [operand.make(device) for operand in (call.q, call.k, call.v)]
        self.memory = [memory for _, memory in made]
        self.kept = [memory.clone() for memory in self.memory]
        self.inputs = [tensor.detach().requires_grad_(w) for (tensor, _), w in zip(made, call.wanted, strict=True)]
        self.mask = None
        if call.mask is not None:
            mask, memory = call.mask.make(device)
            self.mask = mask > 0 if call.has_bool_mask else mask.to(call.q.dtype)
            self.kept.append(memory.clone())
            self.memory.append(memory)

    def run(self) -> None:
        q, k, v = self.inputs
        options: dict[str, Any] = {"is_causal": self.call.causal, "scale": self.call.scale}
        with self.call.around(self.device):
            if min(q.dim(), k.dim(), v.dim()) > 1 and k.shape[-2] != v.shape[-2]:
                # SDPA's fused backend on a CPU reads outside the shorter one (PyTorch 2.13), and so is no yardstick.
                refused = outcome(self._attention)
                assert isinstance(refused, ValueError | TypeError) or (
                    isinstance(refused, Tensor) and refused.numel() == 0
                )
                self.counts["lengths differ"] += 1
                return
            expected = outcome(
                sdpa, q, k, v, attn_mask=self.mask, dropout_p=0.0, enable_gqa=self.call.grouped, **options
            )
            self._compare(outcome(self._drop_in), expected, "scaled_dot_product_attention")
            is_grouped = q.dim() >= 4 and k.dim() >= 4 and q.shape[-3] != k.shape[-3]
            if self.mask is not None or is_grouped is not self.call.grouped:
                expected = outcome(sdpa, q, k, v, enable_gqa=is_grouped, **options)
            self._compare(outcome(self._attention), expected, "attention")
        for memory, kept in zip(self.memory, self.kept, strict=True):
            assert are_same(memory, kept), "an input was written to"

    def _attention(self) -> Tensor:
        before = self.module.stats()
        out = self.module.attention(*self.inputs, causal=self.call.causal, scale=self.call.scale)
        self._note(before, "attention")
        # The operators copy a negated view, and may then take it; a direct call leaves unlike strides to SDPA first.
        if not any(each.is_neg() for each in self.inputs):
            assert self._explained() == self.by
        q, k, v = self.module._autocast(*self.inputs)  # which may change strides
        if self.module._misfit(q, k, v) is None:
            is_by_position = q.stride(1) < q.stride(2)
            assert (out.transpose(1, 2) if is_by_position else out).is_contiguous()
        return out

    def _drop_in(self) -> Tensor:
        before = self.module.stats()
        with self.module.patched():
            out = functional.scaled_dot_product_attention(
                *self.inputs, attn_mask=self.mask, is_causal=self.call.causal, scale=self.call.scale,
                enable_gqa=self.call.grouped,
            )  # fmt: skip
        self._note(before, "scaled_dot_product_attention")
        return out

    def _note(self, before: dict[str, int], function: str) -> None:
        after = self.module.stats()
        grown = [name for name in after if name != "SDPA" and after[name] > before[name]]
        self.by = grown[0] if grown else None
        if self.by is not None and self.call.callers > 1:  # perhaps for another thread
            self.by = self._explained() if self.mask is None or function == "attention" else None
        self.counts[f"{function} by {self.by or 'SDPA'}"] += 1

    def _explained(self) -> str | None:
        """The kernel that computes the inputs, as the package tells."""
        last = self.module.explain(*self.inputs, causal=self.call.causal, scale=self.call.scale).splitlines()[-1]
        name = last.removesuffix(" computes")
        return None if name == "SDPA" else name

    def _compare(self, out: Outcome, expected: Outcome, function: str) -> None:
        if isinstance(expected, Exception) or isinstance(out, Exception):
            self.counts[f"{function} refused"] += 1
            if isinstance(expected, Exception) != isinstance(out, Exception):
                raise AssertionError(f"{function}: {out!r}, but SDPA: {expected!r}")
            return
        assert (out.shape, out.dtype, out.device) == (expected.shape, expected.dtype, expected.device)
        assert out.requires_grad == expected.requires_grad
        if self.by is None:
            # The operators copy a negated view, for which SDPA may then take another way.
            is_negated = any(each.is_neg() for each in self.inputs)
            assert is_negated or are_same(out, expected), f"{function} is not SDPA"
        else:
            q, k, v = self.module._autocast(*(each.detach() for each in self.inputs))
            said = fault(problem_of(q, k, v, bool(self.call.causal), self.call.scale), (q, k, v), out, expected)
            assert said is None, f"{function} by {self.by}: {said}"
        if out.requires_grad:
            self._compare_gradients(out, expected, function)

    def _compare_gradients(self, out: Tensor, expected: Tensor, function: str) -> None:
        asked = [each for each in self.inputs if each.requires_grad]
        weights = torch.linspace(-1, 1, max(1, out.numel()), device=out.device)[: out.numel()].view(out.shape)
        weights = weights.to(out.dtype)
        ours, theirs = (
            outcome(torch.autograd.grad, each, asked, weights, retain_graph=True) for each in (out, expected)
        )
        if isinstance(ours, Exception) or isinstance(theirs, Exception):  # oneDNN refuses some strides
            assert isinstance(ours, Exception) == isinstance(theirs, Exception), (ours, theirs)
            self.counts["gradients refused"] += 1
            return
        self.counts["gradients"] += 1
        for one, other in zip(ours, theirs, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            if self.device == "cpu":
                assert are_same(one, other), f"a gradient of {function} is not SDPA's"
            else:  # sums by atomic additions
                scale = other.abs().nan_to_num(0.0, 0.0, 0.0).max().item() if other.numel() else 0.0
                atol = 4 * scale * torch.finfo(other.dtype).eps
                torch.testing.assert_close(one, other, rtol=0, atol=atol, equal_nan=True)


def examined(module: ModuleType, call: Call, device: str) -> Counter[str]:
    """What was seen in a call, by as many threads as it asks for."""
    torch.set_num_threads(call.threads)
    examinations = [Examination(module, call, device) for _ in range(call.callers)]
    if call.callers == 1:
        examinations[0].run()
    else:
        with ThreadPoolExecutor(call.callers) as pool:
            list(pool.map(Examination.run, examinations))
        assert functional.scaled_dot_product_attention is sdpa
    return sum((each.counts for each in examinations), Counter())


def trial(module: ModuleType, device: str, examples: int, derandomize: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    kinds = [Kind(getattr(torch, each.dtype), each.head_dim, each.causal) for each in PROBLEMS]

    @settings(relaxed, max_examples=examples, derandomize=derandomize)
    @given(calls(kinds, LENGTHS))
    def one(call: Call) -> None:
        counts.update(examined(module, call, device))

    one()
    print(*(f"{count:6} {name}" for name, count in sorted(counts.items())), sep="\n")
    for function in ("attention", "scaled_dot_product_attention"):
        for by in (*module.stats(), "SDPA"):
            assert counts[f"{function} by {by}"] > examples // 100
        assert counts[f"{function} refused"] > 0
    return counts


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cpu_module(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ModuleType:  # noqa: F811
    return load("fuzzed_cpu", write_package("cpu", "fuzzed_cpu", tmp_path_factory.mktemp("fuzz") / "out"))


def test_calls_are_those_of_sdpa(cpu_module: ModuleType, threads: None):
    trial(cpu_module, "cpu", 500, True)


def test_a_scale_of_zero_makes_huge_scores_equal(cpu_module: ModuleType):
    """A difference to the maximum before the first key overflowed, and times 0 was NaN."""
    q, v = torch.ones(1, 1, 3, 16), torch.randn(1, 1, 40, 16, generator=torch.Generator().manual_seed(0))
    for size in (1e30, 1e32, 1e36):
        k = torch.full_like(v, size)
        assert cpu_module.is_supported(q, k, v)
        torch.testing.assert_close(cpu_module.attention(q, k, v, scale=0.0), sdpa(q, k, v, scale=0.0))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_thousand_calls(cpu_module: ModuleType, threads: None):
    trial(cpu_module, "cpu", 20_000, False)


@pytest.mark.gpu
@pytest.mark.timeout(600)
def test_calls_on_a_gpu_are_those_of_sdpa(tmp_path: Path, cache: Path, threads: None):  # noqa: F811
    module = load("fuzzed_cuda", write_package("cuda", "fuzzed_cuda", tmp_path / "out"))
    torch.backends.cuda.enable_cudnn_sdp(False)  # it reads outside of unaligned rows (PyTorch 2.11)
    try:
        trial(module, "cuda", 5000, True)
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
