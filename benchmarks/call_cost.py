"""What a call from Python costs: an export's functions beside PyTorch's own, its operator, and its launcher from C++.

    python benchmarks/call_cost.py evoflash_attention_mission_float16 --shape mission,bert --out calls.json

    python benchmarks/call_cost.py evoflash_rms_norm_rows_16_columns_4096 --out calls.json

times calls back to back, without a CUDA graph, in rounds in which all take turns in random order: the host's time,
which matters where it is more than the kernel's. The launcher is called in a loop of C++ with an output allocated for
each call (bare_calls.cpp). Of several packages for attention the first whose kernel computes a shape is taken. One for
a function is timed at its searched size, beside the function as it is. Prints medians with their quartiles; `over bare`
is what the package's function takes more than the launcher, from the differences of the rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from evoflash.plugins import problem_from_dict
from evoflash.problems import Inputs, Outputs, Problem, attention
from evoflash.problems.attention import AttentionProblem
from evoflash.targets.base import cxx

SAMPLE_S = 0.002  # of calls, for each contestant in each round
MOST_CALLS = {"cuda": 60, "cpu": 1000}  # of a sample: on a GPU few enough for its queue
INCLUDE = Path(__file__).parents[1] / "templates" / "include"

Sampler = Callable[[int], float]  # seconds of a call, of so many


def built(device: str, folder: Path) -> ctypes.CDLL:
    """The loop of C++, for a device."""
    torch_folder, library = Path(torch.__file__).parent, folder / "bare_calls.so"
    command = [*cxx().split(), "-std=c++20", "-O2", "-fPIC", "-shared", "-o", str(library)]
    command += ["-DUSE_CUDA"] if device == "cuda" else []
    command += [f"-I{INCLUDE}", f"-I{torch_folder / 'include'}", str(Path(__file__).with_name("bare_calls.cpp"))]
    command += [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
    command += ["-Wl,--no-as-needed", "-ltorch_cuda"] if device == "cuda" else []
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def kernel_of(packages: Sequence[ModuleType], inputs: Inputs, causal: bool) -> tuple[ModuleType, Any]:
    """The first package whose kernel computes these inputs, and the kernel's library.

    Raises:
        SystemExit: when none does, with each one's reason.
    """
    reasons = []
    for package in packages:
        reasons.append(package.explain(*inputs, causal=causal))
        name = reasons[-1].splitlines()[-1].removesuffix(" computes")
        for row in package._operators.table():
            if row["name"] == name:
                return package, package._operators.loaded().kernels[row["source"]]
    sys.exit("no kernel of the packages computes this shape; export one that does:\n" + "\n".join(reasons))


def samplers(
    package: ModuleType, kernel: Any, loop: ctypes.CDLL, problem: AttentionProblem, inputs: Inputs
) -> dict[str, Sampler]:
    """The contestants by name."""
    q, k, v = inputs
    causal, grouped = problem.causal, problem.heads != problem.kv_heads
    operator = package._operators.attention
    calls: dict[str, Callable[[], Any]] = {
        "attention": lambda: package.attention(q, k, v, causal=causal),
        "drop-in": lambda: package.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped),
        "SDPA": lambda: sdpa(q, k, v, is_causal=causal, enable_gqa=grouped),
        "operator": lambda: operator(q, k, v, causal, None),
    }
    launcher = bare(kernel, loop, problem, inputs, (torch.empty_like(q),))
    return {name: seconds_of(call) for name, call in calls.items()} | {"bare": launcher}


def seconds_of(call: Callable[[], Any]) -> Sampler:
    """Of calls from Python."""

    def sample(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - begin) / count

    return sample


NUMBERS = {torch.float16: 5, torch.float32: 6, torch.float64: 7, torch.bfloat16: 15}  # c10::ScalarType


def bare(kernel: Any, loop: ctypes.CDLL, problem: Problem, inputs: Inputs, outputs: Outputs) -> Sampler:
    """Of calls of the launcher from C++; outputs are as those of a call, without what is updated in place."""
    arguments = problem.arguments(inputs, outputs)
    first, struct = inputs[0], type(arguments)
    stream = torch.cuda.current_stream().cuda_stream if first.is_cuda else 0
    names = [each.name for each in problem.outputs() if each.updates is None]
    members = [ctypes.addressof(arguments) + getattr(struct, name).offset for name in names]
    outs = (ctypes.c_void_p * len(members))(*members)
    dtypes = (ctypes.c_int * len(members))(*(NUMBERS[each.dtype] for each in outputs))
    workspace = ctypes.byref(arguments, struct.workspace.offset)  # type: ignore[attr-defined] - made for the problem
    seconds = ctypes.c_double()

    def sample(count: int) -> float:
        fixed = (ctypes.byref(arguments), outs, dtypes, len(members), workspace)
        functions = (kernel.evoflash_launch, kernel.evoflash_workspace_bytes)
        device = (first.device.index or 0, ctypes.c_void_p(stream))
        code = loop.bare_calls(*fixed, *functions, *device, count, ctypes.byref(seconds))
        if code:
            sys.exit(f"the launcher returns {code} for {problem.label}; run `python -m PACKAGE.selftest`")
        return seconds.value

    return sample


def measure(contestants: dict[str, Sampler], device: str, rounds: int) -> dict[str, list[float]]:
    """Microseconds of a call in each round, by contestant."""

    def sample(name: str, count: int) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return contestants[name](count)

    counts = {}
    for name in contestants:  # also the warm-up
        sample(name, 3)
        counts[name] = max(1, min(MOST_CALLS[device], int(SAMPLE_S / sample(name, 3))))
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            samples[name].append(1e6 * sample(name, counts[name]))
    return samples


def spread(values: Sequence[float]) -> list[float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return [middle, low, high]


def row_of(
    shape: str, problem: AttentionProblem, packages: Sequence[ModuleType], loop: ctypes.CDLL, device: str, rounds: int
) -> dict[str, Any]:
    """All of one shape."""
    inputs = problem.inputs(0, "normal", device)
    package, kernel = kernel_of(packages, inputs, problem.causal)
    samples = measure(samplers(package, kernel, loop, problem, inputs), device, rounds)
    by = package.explain(*inputs, causal=problem.causal).splitlines()[-1]
    return figures(shape, problem, package, by, samples, ("attention", "SDPA"))


def row_of_function(package: ModuleType, loop: ctypes.CDLL, device: str, rounds: int) -> dict[str, Any]:
    """A package for a function, at its searched size."""
    problem = problem_from_dict(package.info()["problem"])
    given = importlib.import_module(f"{package.__name__}.selftest").arguments()
    by = package.explain(*given).splitlines()[-1]
    sources = {row["name"]: row["source"] for row in package._operators.table()}
    source = sources.get(by.removesuffix(" computes"))
    if source is None:
        sys.exit(f"no kernel of {package.__name__} computes {problem.label}: {package.explain(*given)}")
    function, passed = getattr(package, problem.computes), [each for each in given if each is not None]
    calls: dict[str, Callable[[], Any]] = {
        problem.computes: lambda: function(*given),
        "eager": lambda: package._operators.by_reference(*given),
        "operator": lambda: package._operators.compute(*passed),
    }
    contestants = {name: seconds_of(call) for name, call in calls.items()}
    if not source.endswith(".py"):
        inputs = tuple(each for each in given if isinstance(each, torch.Tensor))
        outputs = package._operators.flat(function(*given))
        kernel = package._kernels.loaded().kernels[source]
        contestants["bare"] = bare(kernel, loop, problem, inputs, outputs)
    return figures(
        problem.computes, problem, package, by, measure(contestants, device, rounds), (problem.computes, "eager")
    )


def figures(
    shape: str, problem: Problem, package: ModuleType, by: str, samples: dict[str, list[float]], pair: tuple[str, str]
) -> dict[str, Any]:
    """What is told of a shape; `pair` is the package's function and its rival."""
    ours, theirs = (samples[name] for name in pair)
    found = {
        "shape": shape,
        "size": problem.label,
        "package": package.__name__,
        "by": by,
        "us": {name: spread(each) for name, each in samples.items()},
        f"{pair[0]}_over_{pair[1].lower()}": spread([one / other for one, other in zip(ours, theirs, strict=True)]),
    }
    if "bare" in samples:
        found["over_bare_us"] = spread([one - other for one, other in zip(ours, samples["bare"], strict=True)])
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same contestants for a person, as Markdown: medians in microseconds, quartiles in brackets."""
    names, more = list(rows[0]["us"]), list(rows[0])[5:]
    compared = f"{names[0]} over {'SDPA' if 'SDPA' in names else 'eager'}"
    heads = ["shape", *names, compared, *(["over bare"] if "over_bare_us" in more else [])]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        figures = [*row["us"].values(), *(row[name] for name in more)]
        cells = (f"{middle:.2f} [{low:.2f}, {high:.2f}]" for middle, low, high in figures)
        lines.append(f"| {row['shape']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures each shape, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", help="names of exported packages, which must be importable")
    parser.add_argument("--shape", default="mission", help="names or fields, separated by commas")
    parser.add_argument("--dtype", help="fp16, bf16 or fp32; default: that of the shape, or fp16")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    packages = [importlib.import_module(name) for name in arguments.packages]
    device = arguments.device
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        loop = built(device, Path(folder))
        of_functions = [each for each in packages if not hasattr(each, "attention")]
        of_attention = [each for each in packages if each not in of_functions]
        shapes = attention.parse_all([arguments.shape], arguments.dtype) if of_attention else {}
        groups = [
            [row_of(shape, each, of_attention, loop, device, arguments.rounds) for shape, each in shapes.items()],
            *([row_of_function(each, loop, device, arguments.rounds)] for each in of_functions),
        ]
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    if arguments.out is not None:
        found = {
            "device": name,
            "torch": torch.__version__,
            "rounds": arguments.rounds,
            "rows": [*itertools.chain(*groups)],
        }
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{name}, torch {torch.__version__}, {arguments.rounds} rounds; us a call, median [quartiles]\n")
    print("\n\n".join(table(rows) for rows in groups if rows))


if __name__ == "__main__":
    main()
