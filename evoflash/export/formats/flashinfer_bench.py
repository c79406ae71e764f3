"""The format "flashinfer-bench": a folder that FlashInfer-Bench reads as a TraceSet.

It holds the Solution, the Definition that it solves, and the searched problem as the workload. The Solution is Python
that builds the kernel: FlashInfer-Bench's own builders of C++ and CUDA take no compiler flags, without which a kernel
would be slow, or not compile.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from evoflash.export.formats import skeletons
from evoflash.export.winner import Winner
from evoflash.problems.attention import AttentionProblem

AUTHOR, OPERATION = "evoflash", "attention"
ENTRY_FILE, ENTRY_FUNCTION = "main.py", "run"


def files(winner: Winner) -> dict[str, str]:
    """definitions/, solutions/ and workloads/, one file in each."""
    problem = skeletons.attention(winner)
    axes = _axes(winner, problem)
    name = _definition_name(problem, axes)
    definition = {
        "name": name,
        "op_type": OPERATION,
        "description": f"softmax(scale q k^T) v{' under the causal mask' if problem.causal else ''}, not paged.",
        "axes": axes,
        "inputs": {
            "q": _tensor(problem, "heads", "len_q"),
            "k": _tensor(problem, "kv_heads", "len_kv"),
            "v": _tensor(problem, "kv_heads", "len_kv"),
        },
        "outputs": {"out": _tensor(problem, "heads", "len_q")},
        "reference": skeletons.render("flashinfer_bench/reference.py.j2", winner),
    }
    solution = {
        "name": f"{winner.name}_{winner.source_sha256[:8]}",
        "definition": name,
        "author": AUTHOR,
        "description": f"A {winner.family} kernel, found by evolutionary search on {problem.label}.",
        "spec": {
            "language": "python",
            "target_hardware": [winner.target],
            "entry_point": f"{ENTRY_FILE}::{ENTRY_FUNCTION}",
            "destination_passing_style": True,
        },
        "sources": [
            {"path": ENTRY_FILE, "content": skeletons.render("flashinfer_bench/main.py.j2", winner)},
            {"path": winner.source_name, "content": winner.source},
        ],
    }
    sizes = _sizes(problem)
    workload = {
        "definition": name,
        "workload": {
            "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {problem.label}")),
            "axes": {axis: sizes[axis] for axis, each in axes.items() if each["type"] == "var"},
            "inputs": {tensor: {"type": "random"} for tensor in ("q", "k", "v")},
        },
    }
    return {
        f"definitions/{OPERATION}/{name}.json": _json(definition),
        f"solutions/{AUTHOR}/{OPERATION}/{name}/solution.json": _json(solution),
        f"workloads/{OPERATION}/{name}.jsonl": json.dumps(workload) + "\n",
    }


def _sizes(problem: AttentionProblem) -> dict[str, int]:
    return {
        "batch": problem.batch,
        "heads": problem.heads,
        "kv_heads": problem.kv_heads,
        "len_q": problem.seq_q,
        "len_kv": problem.seq_kv,
        "head_dim": problem.head_dim,
    }


def _axes(winner: Winner, problem: AttentionProblem) -> dict[str, dict[str, Any]]:
    """The axes of the tensors. Batch and lengths are variable for a kernel that takes any."""
    free = {"batch", "len_q", "len_kv"} if winner.sizes == "any" else set()
    return {
        axis: {"type": "var"} if axis in free else {"type": "const", "value": size}
        for axis, size in _sizes(problem).items()
    }


def _definition_name(problem: AttentionProblem, axes: dict[str, dict[str, Any]]) -> str:
    """Says all that two definitions may differ in."""
    letters = {"batch": "b", "heads": "h", "kv_heads": "kv", "len_q": "q", "len_kv": "k", "head_dim": "d"}
    sizes = [f"{letters[axis]}{each['value']}" for axis, each in axes.items() if each["type"] == "const"]
    scale = [] if problem.scale is None else [f"s{problem.scale:g}"]
    return "_".join([OPERATION, *(["causal"] if problem.causal else []), problem.dtype, *sizes, *scale])


def _tensor(problem: AttentionProblem, heads: str, length: str) -> dict[str, Any]:
    return {"shape": ["batch", heads, length, "head_dim"], "dtype": problem.dtype}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
