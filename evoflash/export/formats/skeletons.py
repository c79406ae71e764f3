"""Rendering evoflash/export/skeletons/formats/, with what the formats share."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import jinja2

from evoflash.errors import UsageError
from evoflash.export import rendering, table
from evoflash.export.winner import Winner
from evoflash.problems.attention import AttentionProblem
from evoflash.problems.c_interface import MAX_RANK
from evoflash.problems.c_interface.arguments import CODES
from evoflash.targets import cpu, cuda
from evoflash.version import __version__

# Of a plain build by nvcc, with both parts of the file; the architecture is added.
NVCC_FLAGS = ("-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC")


def render(skeleton: str, winner: Winner, known: Collection[str] = (), **more: Any) -> str:
    """The text of a skeleton, a path in skeletons/formats/, for attention with no other features than `known`."""
    return render_any(skeleton, winner, **_of_attention(winner, known) | more)


def render_any(skeleton: str, winner: Winner, **more: Any) -> str:
    """The text of a skeleton for a winner, whatever it computes."""
    return _environment().get_template(f"formats/{skeleton}").render(_context(winner) | more)


def headers(winner: Winner) -> dict[str, str]:
    """The C interface of the kernel, by the names of its headers."""
    return {rendering.INTERFACE: rendering.interface(), **dict([winner.problem.header])}


def attention(winner: Winner, known: Collection[str] = ()) -> AttentionProblem:
    """The winner's problem.

    Args:
        known: the features that calls of the format can say.

    Raises:
        UsageError: when it is not attention, or has other features.
    """
    if not isinstance(winner.problem, AttentionProblem):
        raise UsageError(f"this format is for attention, not for {winner.problem.computes}; export it as a package")
    lacking = [name for name in winner.problem.features if name not in known]
    if lacking:
        raise UsageError(f"a call of this format has no {', '.join(lacking)}; export it as a package")
    return winner.problem


def capability(winner: Winner) -> str:
    """The compute capability of a CUDA kernel, as PyTorch writes it: 90 -> "9.0a"."""
    assert winner.arch is not None
    suffix = cuda.flag(winner.arch).removeprefix(f"sm_{winner.arch}")
    return f"{winner.arch // 10}.{winner.arch % 10}{suffix}"


def compile_options() -> list[str]:
    """The flags of the search's CPU builds that decide the machine code; OpenMP and the language are set apart."""
    return [flag for flag in cpu.CPU_FLAGS.split() if flag.startswith(("-O", "-m", "-fno-"))]


def _machine_code(arch: str) -> str:
    """nvcc's flag for an architecture. -arch=sm_90a would ask for PTX of compute_90 too, which lacks instructions."""
    return f"-gencode=arch={arch.replace('sm_', 'compute_')},code={arch}"


@functools.cache
def _environment() -> jinja2.Environment:
    return rendering._environment()


def _of_attention(winner: Winner, known: Collection[str]) -> dict[str, Any]:
    """What skeletons for attention read."""
    return {
        "problem": attention(winner, known),
        "dtype_code": CODES[winner.problem.facts()["dtype"]],
        "lengths": winner.sizes,
        "does": table.does(winner),
    }


def _context(winner: Winner) -> dict[str, Any]:
    """What all skeletons read."""
    is_cuda = winner.target == "cuda"
    arch = cuda.flag(winner.arch) if winner.arch is not None else ""
    return {
        "name": winner.name,
        "family": winner.family,
        "source_name": winner.source_name,
        "struct": winner.problem.c_interface,
        "max_rank": MAX_RANK,
        "cuda": is_cuda,
        "arch": arch,
        "capability": capability(winner) if is_cuda else "",
        "compile_options": compile_options(),
        "flags": [*NVCC_FLAGS, _machine_code(arch)] if is_cuda else cpu.CPU_FLAGS.split(),
        "evoflash_version": winner.provenance.get("evoflash", __version__),
    }
