"""The CPU target: kernels are built with g++ and OpenMP for the processor of this machine."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from evoflash.system import memory, processes
from evoflash.targets.base import Figures, Step, Target, compiler_version, cxx, include_flags, read_text, usable_cores

NATIVE = "-march=native"
# No -ffast-math, since NaN must propagate. Without errno the compiler can inline libm functions.
COMPILER_FLAGS = "-std=c++17 -O3 -march=native -fno-math-errno -fopenmp -fPIC"
CPU_FLAGS = f"{COMPILER_FLAGS} -shared -Wl,--build-id=none"
ARCH_PRCTL = 158  # the number of this system call on x86-64
# Appended, so that they override CPU_FLAGS; -O1 keeps the loads that a sanitizer should see.
SANITIZE_FLAGS = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined"


@dataclass(frozen=True)
class CpuTarget(Target):
    """Builds with the host compiler. Kernels and builds use the same cores, so they take turns.

    Attributes:
        sanitize: build with AddressSanitizer and UndefinedBehaviorSanitizer.
        processor: the option that names the processor; the one that compiles, unless `portable` has named it.
    """

    sanitize: bool = False
    processor: str = NATIVE

    name: ClassVar[Literal["cuda", "cpu"]] = "cpu"

    @property
    def source_name(self) -> str:
        """C++."""
        return "kernel.cpp"

    @property
    def builds_disturb_timing(self) -> bool:
        """Yes: a compiler on another core affects clocks, caches and memory bandwidth."""
        return True

    def free_bytes(self) -> int:
        """That of the machine, or of the container."""
        return memory.free_bytes()

    def steps(self, headers: Path | None = None, include_paths: Sequence[Path] = ()) -> tuple[Step, ...]:
        """One compiler command."""
        # A compiler that does not find its form of a precompiled header beside the header reads the header.
        include = "" if headers is None else f" -include {shlex.quote(str(headers))}"
        flags = f"{self._for_processor(CPU_FLAGS)}{self._more_flags}{include_flags(include_paths)}{include}"
        command = f"{cxx()} {flags} -o kernel.so {self.source_name}"
        return (Step(command, "kernel.so", (self.source_name,)),)

    @property
    def headers_step(self) -> Step:
        """With the same flags, or else GCC does not use the result."""
        command = (
            f"{cxx()} {self._for_processor(COMPILER_FLAGS)}{self._more_flags} -x c++-header -o headers.h.gch headers.h"
        )
        return Step(command, "headers.h.gch", ("headers.h",))

    def portable(self) -> CpuTarget:
        """With what GCC takes this processor for in place of `-march=native`; as it is with another compiler."""
        return replace(self, processor=_processor_options() or NATIVE)

    def _for_processor(self, flags: str) -> str:
        return flags.replace(NATIVE, self.processor)

    @property
    def _more_flags(self) -> str:
        return (" -g" if self.debug else "") + (f" {SANITIZE_FLAGS}" if self.sanitize else "")

    def clang_arguments(self) -> tuple[str, ...]:
        """The build's, with what GCC's own headers have and clang's lack (omp.h) behind those of clang."""
        flags = [each for each in CPU_FLAGS.split() if each.startswith(("-std", "-march", "-fopenmp"))]
        answer = processes.run([*shlex.split(cxx()), "-print-file-name=include"], 60)
        own = answer.stdout.strip()
        return ("-x", "c++", *flags, *(("-idirafter", own) if os.path.isabs(own) else ()))

    def figures(self, log: str) -> Figures:
        """None: the compiler does not report any."""
        return Figures()

    @property
    def toolchain(self) -> str:
        """Compiler and processor, since the code is built for the native architecture."""
        return f"{compiler_version(cxx())} on {self.details['processor_digest']}"


@functools.cache
def _processor_options() -> str:
    """GCC's `-march=native`, spelled out; empty where the compiler does not tell."""
    answer = processes.run([*shlex.split(cxx()), NATIVE, "-E", "-v", "-x", "c++", os.devnull], 60)
    line = next((line for line in answer.stderr.splitlines() if "cc1plus" in line and " -march=" in line), "")
    found = re.findall(r" (-m[\w.+=-]+| --param[ =][\w.=-]+)", line.replace(" -", "  -"))
    return " ".join(each.strip() for each in found)


def detect(debug: bool = False) -> CpuTarget:
    """The CPU of this machine, with the cores that this process may use.

    Raises:
        MissingError: without a C++ compiler.
    """
    information = read_text("/proc/cpuinfo")
    flags = set(_field(information, "flags|Features").split())
    model = _field(information, "model name") or "CPU"
    vector = 64 if "avx512f" in flags else 32 if "avx2" in flags else 16
    facts = {
        "cores": usable_cores(),
        "vector_bytes": vector,
        "l1d_bytes": _cache("1", "Data", 32 * 1024),
        "l2_bytes": _cache("2", "Unified", 512 * 1024),
        "bf16_dot": "avx512_bf16" in flags,
        "amx": "amx_bf16" in flags and vector == 64 and _tiles_are_permitted(),
    }
    digest = hashlib.sha256(f"{model} {sorted(flags)}".encode()).hexdigest()[:16]
    details = {"processor_digest": digest, "compiler": compiler_version(cxx())}
    extension = {64: "AVX-512", 32: "AVX2"}.get(vector, "128-bit vectors")
    device = f"{model}, {extension}{' with bf16 dot products' if facts['bf16_dot'] else ''}, {facts['cores']} cores"
    return CpuTarget(device=device, facts=facts, details=details, debug=debug)


def _tiles_are_permitted() -> bool:
    """Requests AMX tile registers from Linux; older kernels than 5.16 and some containers do not permit them."""
    request, tile_data = 0x1023, 18  # ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, request, tile_data) == 0


def _field(information: str, name: str) -> str:
    found = re.search(rf"^(?:{name})\s*:\s*(.*)$", information, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _cache(level: str, kind: str, default: int) -> int:
    """The size of a core's cache in bytes, from sysfs."""
    for index in range(8):
        base = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        if read_text(f"{base}/level") == level and read_text(f"{base}/type") == kind:
            size: Any = re.fullmatch(r"(\d+)([KM]?)", read_text(f"{base}/size"))
            return int(size[1]) * {"": 1, "K": 1024, "M": 1024**2}[size[2]] if size else default
    return default
