"""The format "hf-kernels": a repository of Hugging Face `kernels`.

It holds the sources that kernel-builder compiles ahead of time for all versions of PyTorch, and beside them one variant
of its build for any version, which is the exported package: it compiles the kernel on first use. With that variant
`kernels.get_local_kernel(path)` loads the repository as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

from evoflash.errors import UsageError
from evoflash.export import rendering
from evoflash.export.formats import skeletons
from evoflash.export.winner import Winner

VERSION = 1  # of the repository
LICENSE = "Apache-2.0"
# nvcc's flags in builds of PyTorch extensions forbid what kernels may use; these allow it again.
CUDA_FLAGS = (
    "-O3",
    "-U__CUDA_NO_HALF_OPERATORS__",
    "-U__CUDA_NO_HALF_CONVERSIONS__",
    "-U__CUDA_NO_HALF2_OPERATORS__",
    "-U__CUDA_NO_BFLOAT16_CONVERSIONS__",
)


def files(winner: Winner) -> dict[str, str]:
    """The repository: build.toml with its sources, and build/torch-<backend>/, which is loadable.

    Raises:
        UsageError: when the package's name is not one of a kernel repository.
    """
    package = _package(winner)
    folder = f"{package}_{winner.target}"  # of the kernel's source
    more = {
        "package": package,
        "repository": _repository(package),
        "version": VERSION,
        "license": LICENSE,
        "folder": folder,
        "cuda_flags": CUDA_FLAGS,
    }
    rendered = {
        path: skeletons.render(f"hf_kernels/{skeleton}", winner, **more)
        for path, skeleton in {
            "build.toml": "build.toml.j2",
            "flake.nix": "flake.nix.j2",
            "README.md": "README.md.j2",
            f"torch-ext/{package}/__init__.py": "init.py.j2",
            "torch-ext/torch_binding.cpp": "torch_binding.cpp.j2",
            "torch-ext/torch_binding.h": "torch_binding.h.j2",
        }.items()
    }
    variant = f"build/torch-{winner.target}"
    return {
        **rendered,
        **{f"torch-ext/{name}": text for name, text in skeletons.headers(winner).items()},
        f"{folder}/{winner.source_name}": winner.source,
        **{f"{variant}/{path}": text for path, text in _variant(winner, package).items()},
    }


def _package(winner: Winner) -> str:
    """The name of the Python package; `kernels` derives it from the repository's, which has no capital letters."""
    package = winner.name.lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", package):
        raise UsageError(f"{winner.name!r} is too short for a kernel repository; choose a longer name")
    return package


def _repository(package: str) -> str:
    return package.replace("_", "-")


def _variant(winner: Winner, package: str) -> dict[str, str]:
    """The exported package in a folder of its own, with the metadata by which `kernels` loads it.

    Its operators are registered under its name, so the name has the source's hash in it: another version of the
    repository may be loaded by the same process.
    """
    identifier = f"{package}_{winner.source_sha256[:8]}"
    alone = replace(winner, name=identifier, others=(), sweep=None, prebuilt=False)
    inside = f"{identifier}/"
    texts = {
        path.removeprefix(inside): text for path, text in rendering.files(alone).items() if path.startswith(inside)
    }
    backend = {"type": "cuda", "archs": [skeletons.capability(winner)]} if winner.arch is not None else {"type": "cpu"}
    metadata = {
        "name": _repository(package),
        "id": identifier,
        "version": VERSION,
        "license": LICENSE,
        "python-depends": [],
        "backend": backend,
        "digest": {"algorithm": "sha256", "files": {path: _digest(text) for path, text in sorted(texts.items())}},
    }
    return {**texts, "metadata.json": json.dumps(metadata, indent=2) + "\n"}


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
