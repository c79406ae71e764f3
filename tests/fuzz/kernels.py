"""Kernels of shipped families for each kind of device, as one package to call."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.problems.attention import AttentionProblem

MOST_ROWS = 20  # of the queries that the first kernel is asked for; another takes more

FLOAT32 = AttentionProblem.of(1, 2, 64, 16, dtype="float32")
BFLOAT16 = AttentionProblem.of(1, 2, 64, 32, dtype="bfloat16", causal=True)
FLOAT16 = AttentionProblem.of(1, 2, 64, 64)
PROBLEMS = (FLOAT32, FLOAT32, BFLOAT16, FLOAT16)

# For each problem a family and some genes. Tiles are small, so that small inputs have several.
KERNELS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "cpu": (
        ("cpu_flash", {"threads": 2, "pack": "head", "row_blocks": 2, "qk_rows": 4, "panels": 2, "qk_vectors": 1}),
        ("cpu_flash", {"threads": 2, "pack": "all_first", "row_blocks": 3, "qk_rows": 8, "panels": 1, "qk_vectors": 3}),
        (
            "cpu_flash",
            {"threads": 2, "pack": "tile", "row_blocks": 1, "qk_rows": 6, "panels": 1, "schedule": "dynamic"},
        ),
        ("cpu_flash", {"threads": 1, "pack": "head", "row_blocks": 1, "qk_rows": 4, "panels": 1, "widen": "at_use"}),
    ),
    "cuda": (
        ("scalar", {"owner": "warp", "threads": 64, "keys_per_thread": 1, "lanes": 2, "vector": 4, "staged": True}),
        ("scalar", {"owner": "block", "threads": 64, "keys_per_thread": 2, "vector": 1, "exponent": "approx"}),
        ("mma", {"rows": 16, "row_warps": 1, "warp_keys": 16, "key_warps": 2, "split": 1, "softmax": "online"}),
        ("mma", {"rows": 32, "row_warps": 2, "warp_keys": 32, "key_warps": 1, "split": 2, "softmax": "online"}),
    ),
}


def write_package(device: str, name: str, folder: Path) -> Path:
    """Writes the package of a device's kernels and returns its folder."""
    target = targets.detect(device)
    winners = []
    for problem, (family, genes) in zip(PROBLEMS, KERNELS[device], strict=True):
        template = load(family)
        space = template.space([problem], target.facts)
        genome = space.repair({"specialised": False, **genes}, random.Random(0))
        source = flatten(template.render(genome, problem, target.facts).text)
        winners.append(
            Winner(
                name=name,
                family=family,
                genome=dict(genome),
                source=source,
                language="cuda" if device == "cuda" else "c++",
                target="cuda" if device == "cuda" else "cpu",
                arch=int(target.facts["arch"]) if device == "cuda" else None,
                problem=problem,
                provenance={},
            )
        )
    first, *others = winners
    written = write(replace(first, others=tuple(others)), folder)
    table = written / name / "kernels.json"
    document = json.loads(table.read_text())
    document["kernels"][0]["query_length"] = [1, MOST_ROWS]
    table.write_text(json.dumps(document))
    return written
