"""The CUDA target.

Device code is compiled to a cubin, by NVRTC if it is available, otherwise by nvcc. The host compiler builds the
launcher separately and embeds the cubin (templates/include/launch.cuh). This avoids nvcc's host passes, which take most
of the time of a plain `nvcc -shared`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from evoflash.errors import MissingError, UsageError
from evoflash.system import processes
from evoflash.targets import devices, nvrtc, nvrtc_service
from evoflash.targets.base import Figures, Service, Step, Target, compiler_version, cxx, find_compiler, include_flags
from evoflash.targets.devices import Device, State

CUBIN_FLAGS = "-cubin -std=c++17 -O3 -Xptxas -v -DEVOFLASH_DEVICE_ONLY"
RELAXED = " --expt-relaxed-constexpr"  # CUTLASS calls constexpr functions of the host
NVRTC_FLAGS = "--std=c++17 -default-device --ptxas-options=-v -DEVOFLASH_DEVICE_ONLY"
# Constants that are not inlined are variables. Without -Bsymbolic those of all libraries would be the ones of the first
# that was opened, where the names are the same. What is timed is a graph, in which a launcher has no part, so builds do
# not optimise it. Packages do: they are called directly.
LAUNCHER_FLAGS = "-x c++ -std=c++17 -fPIC -shared -Wl,--build-id=none,-Bsymbolic -DEVOFLASH_HOST_ONLY"
PACKAGED_LAUNCHER_FLAGS = f"{LAUNCHER_FLAGS} -O1"

# By architecture: (maximum shared memory per block, shared memory per multiprocessor, threads per multiprocessor, cores
# per multiprocessor, multiprocessors and L2 bytes of a typical device). CUDA C++ Programming Guide, "Technical
# Specifications per Compute Capability".
KIB, MIB = 1024, 1024**2
ARCHITECTURES = {
    60: (48 * KIB, 64 * KIB, 2048, 64, 56, 4 * MIB),
    70: (96 * KIB, 96 * KIB, 2048, 64, 80, 6 * MIB),
    75: (64 * KIB, 64 * KIB, 1024, 64, 40, 4 * MIB),
    80: (163 * KIB, 164 * KIB, 2048, 64, 108, 40 * MIB),
    86: (99 * KIB, 100 * KIB, 1536, 128, 82, 6 * MIB),
    89: (99 * KIB, 100 * KIB, 1536, 128, 58, 48 * MIB),
    90: (227 * KIB, 228 * KIB, 2048, 128, 132, 50 * MIB),
    100: (227 * KIB, 228 * KIB, 2048, 128, 148, 126 * MIB),
    120: (99 * KIB, 100 * KIB, 1536, 128, 170, 96 * MIB),
}


@dataclass(frozen=True)
class CudaTarget(Target):
    """Builds with NVRTC or nvcc, and the host compiler, for one architecture."""

    name: ClassVar[Literal["cuda", "cpu"]] = "cuda"

    @property
    def source_name(self) -> str:
        """CUDA C++."""
        return "kernel.cu"

    @property
    def builds_disturb_timing(self) -> bool:
        """No: builds run on the host."""
        return False

    @property
    def arch(self) -> str:
        """The architecture flag; from Hopper on with the suffix that enables wgmma and similar instructions."""
        return flag(self.facts["arch"])

    def free_bytes(self) -> int | None:
        """That of the device; None without one, or where the driver does not tell."""
        import pynvml

        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid) if self.uuid else pynvml.nvmlDeviceGetHandleByIndex(0)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
        except pynvml.NVMLError:
            return None

    @property
    def state(self) -> State:
        """As the driver tells."""
        return devices.state_of(self.uuid) if self.uuid else State()

    def steps(self, headers: Path | None = None, include_paths: Sequence[Path] = ()) -> tuple[Step, ...]:
        """Compiles device code to a cubin, then the launcher that embeds it; neither has headers that take long.

        With headers of other libraries nvcc compiles it, since they want the standard library, which NVRTC has not.
        """
        include = toolkit() / "include"
        lines = " -lineinfo" if self.debug else ""
        library, service, more = nvrtc_library(), None, include_flags(include_paths)
        if library is not None and not include_paths:
            python = (sys.executable, "-I", "-S")
            options = (*NVRTC_FLAGS.split(), f"-I{include}", *lines.split())
            arguments = (self.arch, self.source_name, "device.cubin", *options)
            service = Service((*python, nvrtc_service.__file__, str(library)), arguments)
            device = shlex.join([*python, nvrtc.__file__, str(library), *arguments])
        else:
            flags = f"{CUBIN_FLAGS}{more and RELAXED}{more} -arch={self.arch}{lines}"
            device = f"{shlex.quote(nvcc())} {flags} -o device.cubin {self.source_name}"
        host = f"{cxx()} {LAUNCHER_FLAGS}{' -g' if self.debug else ''} -DEVOFLASH_CUBIN='\"device.cubin\"'"
        host += f" -I{shlex.quote(str(include))}{more}{fast_linker()}"
        return (
            Step(device, "device.cubin", (self.source_name,), service),
            Step(f"{host} -o kernel.so {self.source_name} -ldl", "kernel.so", (self.source_name, "device.cubin")),
        )

    def clang_arguments(self) -> tuple[str, ...]:
        """Both parts of the file at once, launched by the runtime, as in `nvcc -shared`."""
        language = ("-x", "cuda", "-std=c++17", f"--cuda-gpu-arch={self.arch}")
        # Without the library of device functions, of which only the declarations matter here.
        return (*language, f"--cuda-path={toolkit()}", "-nocudalib", "-Wno-unknown-cuda-version")

    def figures(self, log: str) -> Figures:
        """From `ptxas -v`; the maximum over the kernels of the file."""
        return Figures(
            registers=_largest(r"Used (\d+) registers", log),
            static_shared_bytes=_largest(r"(\d+) bytes smem", log),
            spill_bytes=_largest(r"(\d+) bytes spill stores", log) + _largest(r"(\d+) bytes spill loads", log),
            stack_bytes=_largest(r"(\d+) bytes stack frame", log),
        )

    def warnings(self, log: str) -> tuple[str, ...]:
        """Performance warnings of ptxas: serialised wgmma, ignored setmaxnreg."""
        return tuple(re.findall(r"\(C\d+\) Potential Performance Loss: (.+?)\.?$", log, re.MULTILINE))

    @property
    def toolchain(self) -> str:
        """Both compilers and the architecture."""
        return f"{device_compiler()}; {compiler_version(cxx())}; {self.arch}"


@functools.cache
def fast_linker() -> str:
    """The option for a linker that is faster than GNU ld, where one is installed and works.

    To link a launcher is to read the symbols of libstdc++, which takes GNU ld 37 ms and gold 15 ms. Not every machine's
    gold finds that library, so each is tried once.
    """
    for name in ("lld", "gold"):
        if shutil.which(f"ld.{name}") is None:
            continue
        with processes.temporary_folder("evoflash-linker.", Path(tempfile.gettempdir())) as folder:
            flags = f"-shared -fPIC -fuse-ld={name} -x c++ {os.devnull} -o".split()
            if processes.run([*shlex.split(cxx()), *flags, str(folder / "trial.so")], 60).returncode == 0:
                return f" -fuse-ld={name}"
    return ""


def nvcc() -> str:
    """The path of nvcc: in $CUDA_HOME/bin, in /usr/local/cuda/bin, or on the PATH.

    Raises:
        MissingError: when there is none.
    """
    home = os.environ.get("CUDA_HOME")
    candidates = (f"{home}/bin/nvcc" if home else None, "/usr/local/cuda/bin/nvcc", "nvcc")
    return find_compiler("CUDA compiler (nvcc)", candidates, "install the CUDA toolkit or set CUDA_HOME")


def toolkit() -> Path:
    """The folder of the CUDA toolkit that nvcc belongs to."""
    return Path(nvcc()).resolve().parent.parent


@functools.cache
def nvrtc_library() -> Path | None:
    """The NVRTC library of the toolkit, or that of a CUDA build of torch; None if there is none."""
    folders = [toolkit() / "lib64", toolkit() / "lib"]
    package = importlib.util.find_spec("nvidia")
    for place in package.submodule_search_locations or () if package is not None else ():
        folders += sorted(Path(place).glob("*/lib"), reverse=True)
    for folder in folders:
        found = sorted(folder.glob("libnvrtc.so*"))
        if found:
            return found[0].resolve()
    return None


def device_compiler() -> str:
    """The compiler of device code, with its version."""
    library = nvrtc_library()
    if library is None:
        return compiler_version(shlex.quote(nvcc()))
    return f"NVRTC {nvrtc.version(str(library))} ({library.stat().st_size} bytes)"


def flag(arch: int) -> str:
    """90 -> "sm_90a"."""
    return f"sm_{arch}{'a' if arch >= 90 else ''}"


def parse_arch(text: str) -> int:
    """ "sm_90a", "compute_90", "9.0", "90" -> 90.

    Raises:
        UsageError: for anything else, or an unknown architecture.
    """
    found = re.fullmatch(r"(?:sm_|compute_)?(\d+)\.?(\d?)a?", text.strip())
    arch = int(found[1] + found[2]) if found else 0
    if arch not in ARCHITECTURES:
        known = ", ".join(flag(each) for each in ARCHITECTURES)
        raise UsageError(f"unknown CUDA architecture {text!r}; choose from: {known}")
    return arch


def of_arch(text: str, debug: bool = False) -> CudaTarget:
    """A target without a device, with the facts of a typical device of this architecture."""
    arch = parse_arch(text)
    facts = _facts(arch)
    details = {"compiler": device_compiler()}
    return CudaTarget(device=f"any {flag(arch)} device", facts=facts, details=details, debug=debug)


def detect(
    arch: str | None = None, debug: bool = False, machine: Mapping[str, Any] = MappingProxyType({})
) -> CudaTarget:
    """The first CUDA device of this machine.

    Args:
        machine: of a run on record, whose device it is to be; see `devices.home_of`.

    Raises:
        MissingError: without a device, its driver, a compiler, or a PyTorch that can use it.
    """
    return on(devices.home_of(machine), arch, debug)


def on(device: Device, arch: str | None = None, debug: bool = False) -> CudaTarget:
    """The target of a device.

    Raises:
        MissingError: without a compiler, or a PyTorch that can use it.
    """
    major, minor = device.kind.capability
    own = major * 10 + minor
    if own not in ARCHITECTURES:
        # An unknown architecture has at least the resources of the next older known one.
        own = max((each for each in ARCHITECTURES if each <= own), default=min(ARCHITECTURES))
    version, name = metadata.version("torch"), device.kind.name
    if version.endswith("+cpu"):
        raise MissingError(f"torch {version} cannot use the {name}; install a CUDA build of torch, or use --target cpu")
    facts = _facts(parse_arch(arch) if arch else own)
    facts["multiprocessors"] = device.kind.cores // ARCHITECTURES[own][3]
    details: dict[str, Any] = {
        "driver": device.driver,
        "memory_bytes": device.kind.memory_bytes,
        "max_sm_clock_mhz": device.max_sm_clock_mhz,
        "compiler": device_compiler(),
    }
    found = of_arch(flag(facts["arch"]), debug)
    return replace(found, device=name, facts=facts, details=details, number=device.number, uuid=device.uuid)


def _facts(arch: int) -> dict[str, Any]:
    block, multiprocessor, threads, _, count, l2 = ARCHITECTURES[arch]
    return {
        "arch": arch,
        "multiprocessors": count,
        "shared_bytes_per_block": block,
        "shared_bytes_per_multiprocessor": multiprocessor,
        "registers_per_multiprocessor": 65536,
        "max_threads_per_multiprocessor": threads,
        "l2_bytes": l2,
    }


def _largest(pattern: str, log: str) -> int:
    return max((int(found) for found in re.findall(pattern, log)), default=0)
