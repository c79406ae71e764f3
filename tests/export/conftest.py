"""Winners to export, and one export to call."""

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from evoflash.codegen.amalgamation import self_contained
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.problems import attention
from evoflash.problems.attention import AttentionProblem

HERE = Path(__file__).parent

FINAL = {
    "time": {"p50_us": 3.25, "p90_us": 3.5, "p99_us": 4.0},
    "vs_best": {"value": 2.77, "low": 2.7, "high": 2.8},
    "best_baseline": "sdpa-cudnn",
    "vs_math": {"value": 18.0, "low": 17.5, "high": 18.5},
    "ratios": {
        "sdpa-math": {"value": 18.0, "low": 17.5, "high": 18.5},
        "sdpa-cudnn": {"value": 2.77, "low": 2.7, "high": 2.8},
        "eager": {"value": 25.0, "low": 24.0, "high": 26.0},
    },
    "accuracy": [{"case": "mission seed 42", "max_error": 1e-4, "sdpa_max_error": 2e-4}],
}


def inlined(name: str) -> str:
    """A fixture's source with its includes put in place, as templates are rendered."""
    return self_contained(HERE / name, AttentionProblem.of(1, 1, 1, 1))


def cpu_winner(name: str) -> Winner:
    return Winner(
        name=name,
        family="plain",
        genome={"rows": 8, "fast": True},
        source=inlined("plain_attention.cpp"),
        language="c++",
        target="cpu",
        arch=None,
        problem=AttentionProblem.of(2, 4, 24, 16, dtype="float32"),
        provenance={
            "run": "r1",
            "candidate": 17,
            "lineage": [3, 9],
            "machine": {"device": "EPYC"},
            "finals": FINAL,
            "date": "2026-01-01",
        },
        cases=("mission seed 42", "113x203"),
    )


def cuda_winner(name: str, arch: int = 90) -> Winner:
    problem = AttentionProblem.of(1, 8, 512, 64)
    return replace(
        cpu_winner(name), source=inlined("trivial.cu"), language="cuda", target="cuda", arch=arch, problem=problem
    )


# By name: features of the problems that the kernels of a shared package are for.
FEATURED = {
    "all": "causal,window=7,softcap=2,mask=bqk,alibi,sinks,v=8",
    "plain": "",
    "causal": "causal",
    "mask": "mask=bk",
    "bias": "bias=hqk",
    "window": "window=5:2",
    "cap": "softcap=3,mask=bqk",
    "alibi": "alibi,causal,align=bottom_right",
    "sinks": "sinks,causal",
    "lengths": "lengths=24+7",
    "paged": "lengths=24+7,page=4,causal",
    "pages": "page=4",
    "latent": "latent,v=8",
}


def featured_winner(name: str, features: str) -> Winner:
    """A kernel for a problem with features."""
    problem = attention.parse(",".join(filter(None, ("b=2,h=4,s=24,d=16,dtype=fp32", features))))
    facts = problem.facts()
    flags = {
        "BANDED": facts["banded"],
        "CAUSAL": facts["causal"],
        "MASKED": facts["masked"],
        "BIASED": facts["biased"],
        "CAPPED": facts["capped"],
        "SLOPES": facts["alibi"],
        "SINKS": facts["sinks"],
        "VALUE_SIZE": facts["value_dim"],
        "RAGGED": facts["ragged"],
        "PAGE_SIZE": facts["page_size"],
        "LATENT": facts["latent"],
    }
    defined = "".join(f"#define {flag} {int(value)}\n" for flag, value in flags.items())
    return replace(cpu_winner(name), source=defined + inlined("featured_attention.cpp"), problem=problem, cases=())


def load(name: str, folder: Path) -> ModuleType:
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module", autouse=True)
def quick_compiler() -> Iterator[None]:
    """Most of what these tests compute is PyTorch, called by operators, of which each package has its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(HERE / "quick_cxx"))
        yield


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the session's own, so that builds are real."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(cpu_winner("exported_plain"), tmp_path_factory.mktemp("export") / "exported")


@pytest.fixture(scope="session")
def module(folder: Path, cache: Path) -> ModuleType:
    return load("exported_plain", folder)


@pytest.fixture(scope="session")
def featured(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ModuleType:
    """A package with the kernels of `FEATURED`."""
    first, *others = (featured_winner("exported_features", features) for features in FEATURED.values())
    folder = write(replace(first, others=tuple(others)), tmp_path_factory.mktemp("features") / "out")
    return load("exported_features", folder)
