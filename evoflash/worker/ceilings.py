"""What a device attains at best: the pace of a copy and of a matrix product by PyTorch, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from evoflash.evaluator.messages import Ceilings

COPY_BYTES = {"cuda": 1 << 30, "cpu": 128 << 20}  # well beyond the caches
SIZE = {"cuda": 8192, "cpu": 768}  # of the matrices: a few milliseconds, so that some tries are undisturbed
LONG_S = 0.7  # of all tries
HALF = ("float16", "bfloat16")


def measure(device: str, dtype: str) -> Ceilings:
    """The best of many tries.

    Args:
        dtype: of the problem. Products of 32-bit floats use TF32 on a GPU, as kernels may; types other than floats of
            16 or 32 bits are measured as 32-bit floats.
    """
    kind = dtype if dtype in HALF else "float32"
    size = SIZE[device]
    names = (kind, "float32") if device == "cpu" and kind in HALF else (kind,)  # a CPU may emulate the short ones
    flops = {name: 2 * size**3 / _product_s(size, name, device) for name in names}
    best = max(flops, key=lambda name: flops[name])
    return Ceilings(copy_bytes_per_s=2 * COPY_BYTES[device] / _copy_s(device), flops_per_s=flops[best], dtype=best)


def _copy_s(device: str) -> float:
    source = torch.zeros(COPY_BYTES[device] // 4, dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return _best_s(lambda: target.copy_(source), device)


def _product_s(size: int, dtype: str, device: str) -> float:
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device == "cuda" else precision)
    try:
        left = torch.randn(size, size, device=device).to(getattr(torch, dtype))
        out = torch.empty_like(left)
        together_s = _best_s(lambda: torch.mm(left, left, out=out), device)
        if device == "cuda":
            return together_s
        # Where other programs have a core, all cores wait for it. One alone is more often undisturbed.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return min(together_s, _best_s(lambda: torch.mm(left, left, out=out), device) / threads)
        finally:
            torch.set_num_threads(threads)
    finally:
        torch.set_float32_matmul_precision(precision)


def _best_s(call: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest call, of as many as `LONG_S` has room for, after one that is not timed."""

    def timed() -> float:
        if device == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1e3
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun

    timed()
    best, end = timed(), time.monotonic() + LONG_S
    while time.monotonic() < end:
        best = min(best, timed())
    return best
