"""Where kernels run: the compiler's commands, and the device's facts.

A target is a frozen value that the driver makes once; it holds no handle to the device, so it can be used on a
machine without one.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from evoflash import processes
from evoflash.errors import MissingError


@dataclass(frozen=True)
class Step:
    """One command of a build: it makes `output` out of `inputs`, all in the build's own folder."""

    command: str
    output: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """Resources as a compiler reports them; None where the target has no such figure."""

    registers: int | None = None
    static_shared_bytes: int | None = None
    spill_bytes: int | None = None
    stack_bytes: int | None = None


@dataclass(frozen=True)
class Target(abc.ABC):
    """A kind of device together with the tools that build for it.

    Attributes:
        facts: what constraints and templates may read as `device.NAME`.
        details: what is worth recording of the machine beside that: driver, compiler, clocks.
    """

    name: ClassVar[Literal["cuda", "cpu"]]

    device: str
    facts: Mapping[str, Any] = field(hash=False)
    details: Mapping[str, Any] = field(hash=False)
    debug: bool = False

    @property
    @abc.abstractmethod
    def source_name(self) -> str:
        """The file name of a source, which tells the compiler its language."""

    @property
    @abc.abstractmethod
    def builds_disturb_timing(self) -> bool:
        """Whether builds and timings share the cores, so that they must take turns."""

    @abc.abstractmethod
    def steps(self) -> tuple[Step, ...]:
        """The commands that make `kernel.so` out of `source_name`, run in the build's own folder."""

    @abc.abstractmethod
    def clang_arguments(self) -> tuple[str, ...]:
        """What tells clang, and so an editor, of language, device and system headers; g++ and nvcc build."""

    @abc.abstractmethod
    def figures(self, log: str) -> Figures:
        """What a build's output says about resources."""

    def warnings(self, log: str) -> tuple[str, ...]:
        """What a build's output says was compiled otherwise than written, each a reason not to run it."""
        return ()

    @property
    @abc.abstractmethod
    def toolchain(self) -> str:
        """Everything beside the source that decides the machine code: compiler version, flags, processor."""

    @functools.cached_property
    def toolchain_digest(self) -> str:
        """A hash of `toolchain` and of the build's commands."""
        commands = "\n".join(step.command for step in self.steps())
        return hashlib.sha256(f"{self.toolchain}\n{commands}".encode()).hexdigest()


def find_compiler(name: str, candidates: tuple[str | None, ...], install: str) -> str:
    """The first of these programs that exists.

    Raises:
        MissingError: saying what to install.
    """
    for candidate in candidates:
        found = shutil.which(candidate) if candidate else None
        if found and "\n" not in found:  # a line of a build file
            return found
    raise MissingError(f"no {name} found; {install}")


@functools.cache
def compiler_version(program: str) -> str:
    """The last line of the first paragraph of `PROGRAM --version`; nvcc and g++ both tell themselves apart there."""
    answer = processes.run([*shlex.split(program), "--version"], 60)
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode or not lines:
        raise MissingError(f"{program} --version fails: {answer.stderr.strip() or 'no output'}; mend the compiler")
    return lines[0] if "release" not in answer.stdout else next(line for line in lines if "release" in line)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cxx() -> str:
    """The command of the host C++ compiler: $CXX (which may have arguments), else g++, else clang++.

    Raises:
        MissingError: where there is none, or $CXX names none.
    """
    wanted = os.environ.get("CXX")
    if wanted:
        try:
            program = (shlex.split(wanted) or [""])[0]
        except ValueError:  # a quotation that does not end
            program = ""
        if not shutil.which(program) or "\n" in wanted:
            raise MissingError(f"CXX={wanted} names no program; install it, or unset CXX")
        return wanted
    install = "install one (Debian: apt-get install g++) or set CXX"
    return shlex.quote(find_compiler("C++ compiler", ("g++", "clang++"), install))


def read_text(path: str) -> str:
    """A file of /proc or /sys, or nothing where there is none."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
