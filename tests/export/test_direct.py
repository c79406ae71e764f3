"""Calls past PyTorch's dispatcher: when they are made, when they are not, and that nothing else differs."""

import ctypes
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from evoflash.export.package import write

from .conftest import cpu_winner, load
from .test_module import inputs, normal


class Operators:
    """The operators of a module, which count their calls."""

    def __init__(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch):
        self.module = module._operators
        self.calls = 0
        for name in ("attention", "scaled_dot_product_attention"):
            monkeypatch.setattr(self.module, name, self._counted(getattr(self.module, name)))

    def _counted(self, operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Any) -> Tensor:
            self.calls += 1
            return operator(*arguments)

        return call

    def are_asked(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """Whether a call goes by way of them."""
        before = self.calls
        call(*arguments)
        return self.calls > before


@pytest.fixture
def operators(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Operators:
    module.attention(*inputs())  # builds and loads
    return Operators(module, monkeypatch)


@pytest.fixture(params=["attention", "scaled_dot_product_attention"])
def function(request: pytest.FixtureRequest, module: ModuleType) -> Callable[..., Tensor]:
    return getattr(module, request.param)


class FunctionMode(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class DispatchMode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Subclass(Tensor):
    pass


# With any of these around a call, the dispatcher has more to do than to find a kernel.
CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "function mode": FunctionMode,
    "default device": lambda: torch.device("cpu"),
    "dispatch mode": DispatchMode,
    "fake tensors": lambda: FakeTensorMode(allow_non_fake_inputs=True),
    "profiler": torch.profiler.profile,
    "forward mode": forward_ad.dual_level,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def test_plain_calls_do_without_the_operators(operators: Operators, function: Callable[..., Tensor]):
    for context in (nullcontext, torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            assert not operators.are_asked(function, *inputs())
    parameters = [each.requires_grad_() for each in inputs()]
    with torch.no_grad():
        assert not operators.are_asked(function, *parameters)


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_what_the_dispatcher_has_to_see_is_left_to_it(
    operators: Operators, function: Callable[..., Tensor], context: Callable[[], AbstractContextManager[Any]]
):
    q, k, v = inputs()
    with context():
        assert operators.are_asked(function, q, k, v)
    assert not operators.are_asked(function, q, k, v)


@pytest.mark.parametrize("which", range(3))
def test_gradients_subclasses_and_transforms_are_left_to_the_dispatcher(
    operators: Operators, function: Callable[..., Tensor], which: int
):
    tensors = list(inputs())
    plain = tensors[which]
    tensors[which] = plain.clone().requires_grad_()
    assert function(*tensors).requires_grad
    tensors[which] = plain.as_subclass(Subclass)
    assert operators.are_asked(function, *tensors)
    tensors[which] = plain.expand(3, *plain.shape)
    in_dims = tuple(0 if index == which else None for index in range(3))
    assert operators.are_asked(torch.vmap(function, in_dims=in_dims), *tensors)


def test_tracing_is_left_to_the_dispatcher(operators: Operators, function: Callable[..., Tensor]):
    traced = torch.jit.trace(lambda q, k, v: function(q, k, v), inputs())
    assert "exported_plain::" in str(traced.graph)


def test_a_profile_has_the_operator(module: ModuleType):
    with torch.profiler.profile() as profile:
        module.attention(*inputs())
    assert "exported_plain::attention" in {event.key for event in profile.key_averages()}


def test_sdpa_computes_what_no_kernel_takes_without_the_operators(
    operators: Operators, module: ModuleType, function: Callable[..., Tensor]
):
    before = module.stats()["SDPA"]
    q, k, v = inputs(size=8)
    assert not operators.are_asked(function, q, k, v)
    assert not operators.are_asked(lambda: function(q, k, v, scale=0.3))
    torch.testing.assert_close(function(q, k, v, scale=0.3), scaled_dot_product_attention(q, k, v, scale=0.3))
    assert module.stats()["SDPA"] == before + 3
    q.requires_grad_()
    function(q, k, v).sum().backward()
    assert q.grad is not None


def test_grouped_heads_and_masks_of_what_no_kernel_takes(module: ModuleType):
    q, k, v = inputs(heads=4, kv_heads=2, size=8)
    expected = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(module.attention(q, k, v, causal=True), expected)


def _layouts() -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    yield "heads together", lambda x: x
    yield "positions together", lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)
    yield "a part of a packed tensor", lambda x: torch.stack([x, x, x], 2).select(2, 1)
    yield "batch inside", lambda x: x.transpose(0, 1).contiguous().transpose(0, 1)
    yield "rows apart", lambda x: torch.cat([x, x], 2)[:, :, ::2].contiguous()[:, :, : x.shape[2]]
    yield "size inside", lambda x: x.transpose(2, 3).contiguous().transpose(2, 3)


@pytest.mark.parametrize("layout", [each for _, each in _layouts()], ids=[name for name, _ in _layouts()])
@pytest.mark.parametrize("size", [16, 8])  # with and without a kernel
@pytest.mark.parametrize(("batch", "heads", "rows"), [(2, 4, 9), (2, 4, 1), (2, 1, 9), (1, 4, 9), (1, 1, 1)])
def test_outputs_lie_as_the_operator_lays_them(
    module: ModuleType, layout: Callable[[Tensor], Tensor], size: int, batch: int, heads: int, rows: int
):
    q, k, v = (layout(each) for each in inputs(batch=batch, heads=heads, kv_heads=heads, rows=rows, size=size))
    out = module.attention(q, k, v)
    by_operator = module._operators.attention(q, k, v, False, None)
    torch.testing.assert_close(out, by_operator)
    strides = [
        [stride for stride, length in zip(each.stride(), each.shape, strict=True) if length > 1]
        for each in (out, by_operator)
    ]
    assert strides[0] == strides[1]


def test_what_does_not_fit_is_said_and_leaves_no_error_behind(module: ModuleType):
    q, k, v = inputs()
    for wrong in (q[:1, :, :, :8], q[:, :3], q.double(), q[..., :8]):
        with pytest.raises(ValueError, match="q"):
            module.attention(wrong, k, v)
    with pytest.raises((TypeError, AttributeError)):
        module.attention(None, k, v)
    with pytest.raises(TypeError, match="expected"):
        module._operators.direct_attention(q, k, v)
    module.attention(q, k, v, scale=1)  # an int, which the operators take
    module.attention(q.to_sparse().to_dense(), k, v)


def test_a_row_is_called_by_its_number(module: ModuleType):
    q, k, v = inputs()
    call_of, direct = module._operators.call_of, module._operators.direct
    plain = (q, k, v, False, None, True, None, None, "top_left", 0.0, None, None, None, None)
    torch.testing.assert_close(call_of(0, q, k, v), scaled_dot_product_attention(q, k, v))
    assert direct(*plain, 1) is None
    with pytest.raises(RuntimeError, match="no kernel 1"):
        call_of(1, q, k, v)
    with pytest.raises(OverflowError):
        direct(*plain, -1)


def test_nothing_is_leaked(module: ModuleType):
    q, k, v = inputs()
    small, other, third = inputs(size=8)
    kept = (q, k, v, small, other, third, None, True, False, NotImplemented)
    for warm in (q, small):
        module.attention(warm, *((k, v) if warm is q else (other, third)))
    with pytest.raises(ValueError, match="q"):  # by modules of PyTorch that the first such call imports
        module.attention(q[..., :8], k, v)
    gc.collect()  # what earlier tests have left refers to None, True and False, too
    before = [sys.getrefcount(each) for each in kept]
    for _ in range(300):
        module.attention(q, k, v)
        module.attention(small, other, third, scale=0.5)
        with pytest.raises(ValueError, match="q"):
            module.attention(q[..., :8], k, v)
    gc.collect()
    after = [sys.getrefcount(each) for each in kept]
    assert all(abs(a - b) < 100 for a, b in zip(after, before, strict=True))
    out = module.attention(q, k, v)
    gone = weakref.ref(out)
    del out
    assert gone() is None


def test_other_threads_run_during_a_kernel(module: ModuleType):
    q, k, v = inputs(batch=4, heads=8, rows=1024, keys=1024)
    seen: list[float] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.001):
            seen.append(time.perf_counter())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.2:
            start = time.perf_counter()
            module.attention(q, k, v)
            end = time.perf_counter()
            if any(start + 0.01 < each < end - 0.01 for each in seen):
                break
        else:
            pytest.fail("no other thread ran while a kernel computed")
    finally:
        stop.set()
        thread.join()


def test_a_library_without_direct_calls_has_the_operators(tmp_path: Path, cache: Path):
    module = load("exported_indirect", write(cpu_winner("exported_indirect"), tmp_path / "out"))
    operators = module._operators
    operators._set_direct_calls(ctypes.CDLL(None))  # has no such function
    q, k, v = inputs()
    assert operators.direct(q, k, v, False, None, True) is None
    assert operators.direct_attention(q, k, v, False, None, True) is None


def test_python_headers_decide_whether_there_are_direct_calls(module: ModuleType, monkeypatch: pytest.MonkeyPatch):
    build = module._build
    assert "-DUSE_PYTHON" in build._python_flags()
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: "/nowhere")
    assert build._python_flags() == ""


@pytest.mark.parametrize("which", range(3))
def test_values_of_a_negated_view(function: Callable[..., Tensor], which: int):
    tensors = list(inputs())
    kept = tensors[which]
    tensors[which] = -kept
    expected = scaled_dot_product_attention(*tensors)
    of_pairs = torch.complex(normal(*kept.shape), kept).conj().imag  # the imaginary parts lie apart
    for negated in (of_pairs, torch._neg_view(kept)):
        assert negated.is_neg()
        tensors[which] = negated
        torch.testing.assert_close(function(*tensors), expected)


def test_zeros_that_were_never_written(function: Callable[..., Tensor]):
    q, k, v = inputs()
    zeros = torch._efficientzerotensor(tuple(q.shape))  # as derivatives may be; it has no memory
    torch.testing.assert_close(function(zeros, k, v), scaled_dot_product_attention(torch.zeros_like(q), k, v))
