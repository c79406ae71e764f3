"""Targets: compiler commands and device facts.

A target is a frozen value. It has no handle to the device, so it can be used on a machine without one.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from evoflash.errors import MissingError
from evoflash.system import processes
from evoflash.targets.devices import State


@dataclass(frozen=True)
class Service:
    """A compiler that stays loaded between builds.

    Attributes:
        program: its command. It is given the file descriptor of a socket as the last argument. A request and an answer
            are a line of JSON: [folder, argument …] and [exit code, output].
        arguments: those of the request.
    """

    program: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One command of a build, which creates `output` from `inputs` in the folder of the build.

    Attributes:
        service: what does the same in less time.
    """

    command: str
    output: str
    inputs: tuple[str, ...]
    service: Service | None = None


@dataclass(frozen=True)
class Figures:
    """Resource usage as reported by the compiler; None where the target does not report it."""

    registers: int | None = None
    static_shared_bytes: int | None = None
    spill_bytes: int | None = None
    stack_bytes: int | None = None


@dataclass(frozen=True)
class Target(abc.ABC):
    """A device and the tools that build for it.

    Attributes:
        device: the name of the device.
        facts: the values that constraints and templates can read as `device.NAME`.
        details: further facts to record: driver, compiler, clocks.
        debug: build with debug information.
        number: of the device among those that this process may use.
        uuid: of the device, by which a worker finds it; empty for the only one, or the first.
    """

    name: ClassVar[Literal["cuda", "cpu"]]

    device: str
    facts: Mapping[str, Any] = field(hash=False)
    details: Mapping[str, Any] = field(hash=False)
    debug: bool = False
    number: int = 0
    uuid: str = ""

    @property
    def place(self) -> str:
        """What a worker is told: "cpu", "cuda", or "cuda:UUID"."""
        return f"{self.name}:{self.uuid}" if self.uuid else self.name

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which a program is shown this device, and no other of its kind."""
        return {"CUDA_VISIBLE_DEVICES": self.uuid} if self.uuid else {}

    @property
    def label(self) -> str:
        """A word for the device, e.g. "cuda:1"."""
        return f"{self.name}:{self.number}"

    def portable(self) -> Target:
        """The same device, for which other hosts can build, too; asked where the device is."""
        return self

    @property
    @abc.abstractmethod
    def source_name(self) -> str:
        """The file name of a source, which determines its language."""

    @property
    @abc.abstractmethod
    def builds_disturb_timing(self) -> bool:
        """Whether builds and timings use the same cores, so that they must take turns."""

    def free_bytes(self) -> int | None:
        """The memory that kernels can take now; None where that is not known."""
        return None

    @property
    def state(self) -> State:
        """The temperature and the clock now, as far as they are known."""
        return State()

    @abc.abstractmethod
    def steps(self, headers: Path | None = None, include_paths: Sequence[Path] = ()) -> tuple[Step, ...]:
        """The commands that build `kernel.so` from `source_name`, run in the folder of the build.

        Args:
            headers: a header with precompiled system headers, made by `headers_step`, which the source also includes.
            include_paths: further folders of headers.
        """

    @property
    def headers_step(self) -> Step | None:
        """The command that precompiles system headers; None where it would not save time."""
        return None

    @abc.abstractmethod
    def clang_arguments(self) -> tuple[str, ...]:
        """What tells clang, and so an editor, of language, device and system headers; g++ and nvcc build."""

    @abc.abstractmethod
    def figures(self, log: str) -> Figures:
        """The resource usage reported in a build's output."""

    def warnings(self, log: str) -> tuple[str, ...]:
        """Warnings in a build's output that disqualify the kernel, because it was not compiled as written."""
        return ()

    @property
    @abc.abstractmethod
    def toolchain(self) -> str:
        """Everything except the source that determines the machine code: compiler version, flags, processor."""

    @functools.cached_property
    def toolchain_digest(self) -> str:
        """A hash of `toolchain` and the build commands."""
        commands = "\n".join(step.command for step in self.steps())
        return hashlib.sha256(f"{self.toolchain}\n{commands}".encode()).hexdigest()


def include_flags(include_paths: Sequence[Path]) -> str:
    """The options for folders of headers, each after a blank."""
    return "".join(f" -I{shlex.quote(str(path))}" for path in include_paths)


def find_compiler(name: str, candidates: tuple[str | None, ...], install: str) -> str:
    """The first of these programs that exists.

    Raises:
        MissingError: saying what to install.
    """
    for candidate in candidates:
        found = shutil.which(candidate) if candidate else None
        if found and "\n" not in found:  # it becomes part of a line in a build file
            return found
    raise MissingError(f"no {name} found; {install}")


@functools.cache
def compiler_version(program: str) -> str:
    """The line of `PROGRAM --version` that has the version."""
    answer = processes.run([*shlex.split(program), "--version"], 60)
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode or not lines:
        raise MissingError(f"{program} --version fails: {answer.stderr.strip() or 'no output'}; fix the compiler")
    return lines[0] if "release" not in answer.stdout else next(line for line in lines if "release" in line)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cxx() -> str:
    """The command of the host C++ compiler: $CXX (which may have arguments), g++, or clang++.

    Raises:
        MissingError: when there is none, or $CXX is not a program, builds nothing, or is a compiler of C.
    """
    wanted = os.environ.get("CXX")
    if wanted:
        try:
            program = (shlex.split(wanted) or [""])[0]
        except ValueError:  # an unclosed quotation
            program = ""
        if not shutil.which(program) or "\n" in wanted:
            raise MissingError(f"CXX={wanted} is not a program; install it, or unset CXX")
        plain, with_library = linking_errors(wanted)
        if plain and with_library:
            raise MissingError(f"CXX={wanted} builds no program: {plain}; fix it, or unset CXX")
        if plain:
            compiler_of_cxx = of_cxx(wanted)
            raise MissingError(f"CXX={wanted} is a C compiler; use {compiler_of_cxx}")
        return wanted
    install = "install one (Debian: apt-get install g++) or set CXX"
    return shlex.quote(find_compiler("C++ compiler", ("g++", "clang++"), install))


@functools.cache
def linking_errors(command: str) -> tuple[str, str]:
    """What a compiler says against linking a program of C++, and with the C++ library named; empty if it links.

    gcc compiles C++ and makes a shared library of it, which then lacks symbols when it is loaded. It links a program
    only with the library named, and g++ without. A compiler that links neither would refuse every kernel.
    """
    with processes.temporary_folder("evoflash-cxx.", Path(tempfile.gettempdir())) as folder:
        (folder / "throws.cpp").write_text("int main() { throw 1; }\n", encoding="ascii")
        build = [*shlex.split(command), "throws.cpp", "-o", "throws"]
        try:
            plain = _error(processes.run(build, 60, cwd=folder))
            return plain, plain and _error(processes.run([*build, "-lstdc++"], 60, cwd=folder))
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MissingError(f"CXX={command} cannot be run ({error}); set it to g++") from None


def _error(ended: subprocess.CompletedProcess[str]) -> str:
    """A failed program's first line that has the word error, else its last; empty if it succeeded."""
    if not ended.returncode:
        return ""
    lines = (ended.stderr or ended.stdout or "").strip().splitlines() or [f"exit code {ended.returncode}"]
    return next((line for line in lines if "error" in line), lines[-1]).strip()


def of_cxx(command: str) -> str:
    """The C++ compiler that comes with a C compiler: g++-13 -m64 for gcc-13 -m64, g++ for one of another name."""
    names = {"gcc": "g++", "clang": "clang++", "cc": "c++"}
    name = r"(?<!\w)(gcc|clang|cc)(?![\w+])(?!\S*/)"  # in the program's own name, not in its folder's
    found, count = re.subn(name, lambda found: names[found[1]], command, count=1)
    return found if count else "g++"


def read_text(path: str) -> str:
    """The content of a file in /proc or /sys; empty if it does not exist."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
