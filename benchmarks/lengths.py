"""An export over lengths and batches, against the fastest backend of SDPA at each.

    python benchmarks/lengths.py my_attention --heads 8 --head-size 64 --lengths 1..2048 --step 37 --batches 1,2,4,8

times self-attention: the package's drop-in, SDPA as it chooses for itself, and on a GPU its backends cuDNN and
FlashAttention-2 where they take the size. On a GPU the calls are in CUDA graphs, where only the device counts. Prints
geometric means by length and batch. A report, not a test.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
LAUNCHES, ROUNDS = 20, 9  # launches in a graph, samples of each
CPU_SAMPLE_S = 0.02  # of calls
OCTAVES = (128, 512, 1024, 2048)  # the ends of the ranges that are reported


def measure(package: Any, shape: tuple[int, ...], device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Microseconds of each contestant on q, k and v of one shape, and what the package chose."""
    q, k, v = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    timer = _graph_timer if device == "cuda" else _call_timer
    timers = {
        "package": timer(lambda: package.scaled_dot_product_attention(q, k, v)),
        "sdpa": timer(lambda: sdpa(q, k, v)),
    }
    for name, backend in BACKENDS.items() if device == "cuda" else ():
        try:
            with sdpa_kernel(backend):
                timers[name] = timer(lambda: sdpa(q, k, v))
        except RuntimeError:  # it does not take this size
            torch.cuda.synchronize()
    samples: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, each in timers.items():
            samples[name].append(each())
    by = package.explain(q, k, v).splitlines()[-1]
    us = {name: statistics.median(each) for name, each in samples.items()}
    return {"batch": shape[0], "length": shape[2], "by": by, "us": us}


def _graph_timer(call: Callable[[], Any]) -> Callable[[], float]:
    for _ in range(3):
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            call()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def sample() -> float:
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return 1e3 * begin.elapsed_time(end) / LAUNCHES

    return sample


def _call_timer(call: Callable[[], Any]) -> Callable[[], float]:
    def sample(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return 1e6 * (time.perf_counter() - begin) / count

    count = max(1, int(1e6 * CPU_SAMPLE_S / sample(3)))
    return lambda: sample(count)


def ratio(row: dict[str, Any]) -> float:
    """How many times as fast as the fastest of SDPA's the package is."""
    return min(us for name, us in row["us"].items() if name != "package") / row["us"]["package"]


def main() -> None:
    """Measures all sizes; prints a line for each batch and range of lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="name of the exported package, which must be importable")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--lengths", default="1..2048")
    parser.add_argument("--step", type=int, default=37)
    parser.add_argument("--batches", default="1,2,4,8")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--out", help="JSON")
    arguments = parser.parse_args()
    package = importlib.import_module(arguments.package)
    dtype = getattr(torch, arguments.dtype)
    first, last = map(int, arguments.lengths.split(".."))
    with torch.no_grad():
        rows = [
            measure(package, (batch, arguments.heads, length, arguments.head_size), arguments.device, dtype)
            for length in range(first, last + 1, arguments.step)
            for batch in map(int, arguments.batches.split(","))
        ]
    if arguments.out:
        device = (
            torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump({"device": device, "torch": torch.__version__, "rows": rows}, file, indent=1)
    ratios = [ratio(row) for row in rows]
    print(f"{len(rows)} sizes: geometric mean {statistics.geometric_mean(ratios):.3f}, least {min(ratios):.3f}")
    for batch in map(int, arguments.batches.split(",")):
        for low, high in zip((0, *OCTAVES), OCTAVES, strict=False):
            part = [ratio(row) for row in rows if row["batch"] == batch and low < row["length"] <= high]
            if part:
                mean = statistics.geometric_mean(part)
                print(f"batch {batch}, lengths {low + 1} to {high}: {mean:.2f}, least {min(part):.2f}")


if __name__ == "__main__":
    main()
