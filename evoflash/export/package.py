"""A winner, written as an installable Python distribution."""

import hashlib
import keyword
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evoflash.errors import StorageError, UsageError
from evoflash.export import rendering
from evoflash.problems import Problem
from evoflash.system import processes

# Names that a package must not take: it would hide what it imports, or what stands beside it.
TAKEN = {*sys.stdlib_module_names, "torch", "ninja", "evoflash", "pytest", "tests", "aten", "prim", "prims"}

# What running, testing and installing an export leaves in its folder; these never stand in the way of a new one.
LEFTOVERS = re.compile(r"__pycache__|\.pytest_cache|\.ruff_cache|build|dist|.*\.egg-info")


@dataclass(frozen=True)
class Winner:
    """Everything that an export needs.

    Attributes:
        name: of the Python package, e.g. "evoflash_attention_mission".
        family: the template that rendered it; `genome` are the values that it was rendered with.
        source: the kernel's text, written byte for byte.
        arch: compute capability times ten, e.g. 90; None for a CPU.
        problem: what was searched; dtype, head size and mask are the kernel's, the lengths are where it was timed.
        provenance: where it comes from, as JSON values. The README shows, of what is there: every plain value;
            `machine`, a mapping of plain values; `finals`, as `evoflash.core.finals.Final` dumps itself; the length of
            `lineage`, a list; `evoflash`, the version that found it.
        cases: the names of the correctness cases that it passed.

    Raises:
        UsageError: for a name that no package can have, or a target that does not fit the language.
    """

    name: str
    family: str
    genome: dict[str, Any]
    source: str
    language: Literal["c++", "cuda"]
    target: Literal["cpu", "cuda"]
    arch: int | None
    problem: Problem
    provenance: dict[str, Any]
    cases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", self.name) or keyword.iskeyword(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a package; choose letters, digits and inner underscores, a letter first"
            )
        if self.name in TAKEN:
            raise UsageError(f"the package name {self.name!r} is taken by another module; choose another name")
        if not re.fullmatch(r"[\w.-]+", self.family):
            raise UsageError(f"{self.family!r} is no family; choose from `evoflash templates list`")
        if (self.language, self.target) not in (("c++", "cpu"), ("cuda", "cuda")):
            raise UsageError(f"a kernel in {self.language} does not run on {self.target}; export another candidate")
        if (self.arch is None) != (self.target == "cpu"):
            raise UsageError("a CUDA kernel has an architecture and a CPU kernel none; export another candidate")

    @property
    def source_name(self) -> str:
        """The kernel's file name."""
        return "kernel.cu" if self.language == "cuda" else "kernel.cpp"

    @property
    def source_sha256(self) -> str:
        """Names the kernel: 64 hexadecimal digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def write(winner: Winner, out: Path) -> Path:
    """Writes the distribution into `out` and returns that folder's absolute path.

    The folder appears whole or not at all: it is made beside `out` and renamed. An earlier export there is replaced.

    Raises:
        UsageError: when `out` is a file, or holds anything that is not an export's.
        StorageError: when it cannot be written.
    """
    out = out.expanduser().resolve()
    try:
        _refuse_foreign(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with processes.temporary_folder(f".{out.name[:100]}.", out.parent) as beside:
            fresh = beside / "fresh"
            for path, text in rendering.files(winner).items():
                file = fresh / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode())
            _swap(fresh, out, beside / "replaced")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; choose another folder") from None
    return out


def _refuse_foreign(out: Path) -> None:
    """Raises UsageError unless `out` is absent, empty, or holds an earlier export and nothing else of anyone's."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose a folder")
    present = {file.relative_to(out).as_posix() for file in _files(out)}
    if not present and not any(out.iterdir()):
        return
    exported = next((name for name in map(_package_of, present) if name), None)
    known = rendering.paths(exported) if exported else frozenset()
    foreign = sorted(present - known) or ([] if exported else sorted(path.name for path in out.iterdir()))
    if foreign:
        raise UsageError(f"{out} holds {foreign[0]!r}, which is no export's; choose an empty or new folder")


def _files(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if LEFTOVERS.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _package_of(path: str) -> str | None:
    """The package's name, for the path of the file that only an export has."""
    package, _, file = path.partition("/")
    return package if file == rendering.MARKER else None


def _swap(fresh: Path, out: Path, replaced: Path) -> None:
    """Renames `fresh` to `out`. What stood there goes to `replaced`, and comes back on a failure or interrupt."""
    try:
        if out.exists():
            os.rename(out, replaced)
        os.rename(fresh, out)
    except BaseException:
        if replaced.exists() and not out.exists():
            os.rename(replaced, out)
        raise
