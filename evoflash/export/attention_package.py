"""What a package has that is for attention: its skeletons, and what they read beside what all packages have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.export import table
from evoflash.export.content import Content
from evoflash.export.winner import Winner
from evoflash.problems.attention.members import ATTENTION

MARGIN, NOISE = 1.02, 0.985  # as many times as fast as SDPA must a kernel be to be asked, on the mean and everywhere


def _context(winner: Winner) -> dict[str, Any]:
    problem = winner.problem
    return {
        "computes": "Attention",
        "transformers_name": winner.name.replace("flash", ""),
        "does": table.does(winner),
        "does_of": {source: table.does(kernel) for source, kernel in winner.sources.items()},
        "usage": table.usage(winner),
        "values": table.values(winner),
        "taken": sorted(
            {name for kernel in winner.sources.values() for name in table.features(kernel)} - {"value_size"}
        ),
        "form": table.searched(winner),
        "rival": "PyTorch, written out" if table.NOT_IN_SDPA & table.features(winner).keys() else "SDPA",
        "is_drop_in": table.features(winner).keys() <= {"value_size", "attn_mask", "latent"}
        and not (problem.facts()["causal"] and "attn_mask" in table.features(winner)),
        "lengths_of": {source: table.lengths(kernel) for source, kernel in winner.sources.items()},
        "gains": _gains(winner.sweep) if winner.sweep is not None else [],
        "searched": {source: table.searched(kernel) for source, kernel in winner.sources.items()},
        "margin": MARGIN,
        "noise": NOISE,
        "again": table.shape(winner),
    }


def _gains(sweep: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """For each row of a swept table its ranges, its kernel, and how it compares with SDPA at the points measured."""
    lines = []
    for row in sweep["rows"]:
        ranges = [row[axis] for axis in ("batch_heads", "query_length", "key_length")]
        ratios = [
            point["us"]["SDPA"] / point["us"][row["name"]]
            for point in sweep["points"]
            if row["name"] in point["us"] and table.is_inside(point, row)
        ]
        spans = [str(first) if first == last else f"{first} to {last}" for first, last in ranges]
        gain = f"{min(ratios):.2f}× to {max(ratios):.2f}×"
        lines.append((*spans, row["name"], gain))
    return lines


CONTENT = Content(
    skeletons={
        "README.md": "attention/README.md.j2",
        "{name}/__init__.py": "attention/init.py.j2",
        "{name}/_operators.py": "attention/operators.py.j2",
        "{name}/_reference.py": "attention/reference.py.j2",
        "{name}/selftest.py": "attention/selftest.py.j2",
        "{name}/sweep.py": "attention/sweep.py.j2",
        "{name}/calls.py": "attention/calls.py.j2",
        "{name}/_transformers.py": "attention/transformers.py.j2",
        "tests/test_against_sdpa.py": "attention/test_against_sdpa.py.j2",
    },
    headers=(
        *("pytorch.h", "arguments.h", "launch.h", "rows.h", "eager.h"),
        *("attention/sdpa.h", "attention/table.h", "attention/direct.h"),
    ),
    binding="attention/binding.cpp",
    table=table.document,
    context=_context,
    plain="SDPA's math backend",
    yardstick="SDPA",
    unsaid=("kv_dtype", "packed", "lse"),
    verbatim=lambda winner: dict([winner.problem.header]),
    verbatim_names=(ATTENTION.header,),
)
