"""Checks of a machine. Everything that a search needs is actually tried, not only looked up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import random
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evoflash import targets
from evoflash.codegen.template import load_all
from evoflash.config import Settings
from evoflash.errors import EvoflashError, MissingError, NotFoundError
from evoflash.evaluator.sandbox import Sandbox
from evoflash.problems import attention
from evoflash.store import RunStore, location, migrate
from evoflash.system import processes
from evoflash.targets import Target, cuda
from evoflash.targets.base import compiler_version, cxx, read_text

VECTORS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")
MIN_FREE_BYTES = 1 << 30

OPENMP_PROGRAM = """#include <omp.h>
#include <cstdio>
int main() {
  int sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (int i = 0; i < 100; i++) sum += i;
  return std::printf("%d %d", sum, omp_get_max_threads()) < 0;
}
"""
CUDA_PROGRAM = "__global__ void twice(float *x) { x[threadIdx.x] *= 2; }\n"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        need: what needs it: "any" search, "cpu", "cuda", or "optional" work such as profiling.
        found: what was found: version, path, or why it does not work.
        fix: what to do if it is missing.
    """

    name: str
    need: Literal["any", "cpu", "cuda", "optional"]
    ok: bool
    found: str
    fix: str = ""

    @property
    def state(self) -> str:
        """ "ok" or "missing"."""
        return "ok" if self.ok else "missing"


def python_packages() -> list[Check]:
    """Checks PyTorch, without importing it, and ninja."""
    checks = []
    try:
        version = importlib.metadata.version("torch")
        found = _cuda_of_torch()
        checks.append(Check("torch", "any", True, version))
        fix = "install a CUDA build of torch: https://pytorch.org/get-started"
        built = f"built for CUDA {found}" if found else f"torch {version} is a CPU build"
        checks.append(Check("torch with CUDA", "cuda", found is not None, built, fix))
    except importlib.metadata.PackageNotFoundError:
        checks.append(Check("torch", "any", False, "not installed", "pip install torch"))
    try:
        import ninja

        program = os.path.join(ninja.BIN_DIR, "ninja")
        code, words = _run([program, "--version"])
        checks.append(Check("ninja", "any", code == 0, words, "pip install --force-reinstall ninja"))
    except ImportError:
        checks.append(Check("ninja", "any", False, "not installed", "pip install ninja"))
    return checks


def host_compiler() -> list[Check]:
    """Checks the C++ compiler, by building and running a parallel loop, and the vector extensions."""
    checks = []
    try:
        program = cxx()
        checks.append(Check("C++ compiler", "any", True, f"{program}: {compiler_version(program)}"))
        checks.append(_openmp(program))
    except MissingError as error:
        reason, _, fix = str(error).partition("; ")
        checks.append(Check("C++ compiler", "any", False, reason, fix))
    flags = set(re.split(r"\s+", read_text("/proc/cpuinfo")))
    vectors = [name for name in VECTORS if name in flags]
    found = ", ".join(vectors) or "none known; kernels will use 128-bit vectors"
    checks.append(Check("vector extensions", "optional", bool(vectors), found, "use a processor with AVX2 or newer"))
    return checks


def cuda_tools(arch: str | None) -> list[Check]:
    """Checks driver and devices through NVML, nvcc by building a kernel, and the profiling tools."""
    checks = _devices()
    own = next((check.found.rpartition(" ")[2] for check in checks if check.name.startswith("GPU")), "sm_80")
    flag = cuda.flag(cuda.parse_arch(arch)) if arch else own
    try:
        program = cuda.nvcc()
        checks.append(Check("nvcc", "cuda", True, f"{program}: {compiler_version(program)}"))
        checks.append(_nvcc_builds(program, flag))
        library = cuda.nvrtc_library()
        found = f"{library}: {cuda.device_compiler()}" if library else "not found; nvcc is used, which is slower"
        checks.append(Check("NVRTC", "optional", library is not None, found, "pip install nvidia-cuda-nvrtc"))
    except MissingError as error:
        reason, _, fix = str(error).partition("; ")
        checks.append(Check("nvcc", "cuda", False, reason, fix))
    for tool in ("compute-sanitizer", "ncu"):
        path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin")
        fix = f"install {tool} with the CUDA toolkit; it is only used for debugging and profiling"
        checks.append(Check(tool, "optional", path is not None, path or "not found", fix))
    return checks


def storage(settings: Settings) -> list[Check]:
    """Checks the build cache and the database's folder by writing to them, and the database by reading it."""
    checks = [_writable("build cache", settings.cache)]
    where = location.without_password(settings.db)
    try:
        with RunStore.open(settings.db) as store:
            found = f"{where}: schema {migrate.HEAD}, {len(store.runs())} runs"
        checks.append(Check("database", "any", True, found))
    except NotFoundError:
        checks.append(Check("database", "any", True, f"{where}: none yet; the first search creates it"))
    except EvoflashError as error:
        checks.append(Check("database", "any", False, str(error), "restore it, or give another with --db"))
    if "://" not in settings.db:
        checks.append(_writable("runs folder", Path(settings.db).expanduser().parent))
    return checks


def target_of(settings: Settings) -> tuple[Target | None, Check]:
    """The target that a search would choose."""
    try:
        target = targets.detect(settings.target, settings.arch)
    except MissingError as error:
        reason, _, fix = str(error).partition("; ")
        return None, Check("target", "any", False, reason, fix)
    why = targets.why_not_cuda() if target.name == "cpu" else None
    found = f"{target.name}: {target.device}" + (f" ({why.split(';')[0]})" if why else "")
    return target, Check("target", "any", True, found)


def worker(target: Target, sandbox: Sandbox) -> Check:
    """Checks the evaluation worker by starting it."""
    try:
        sandbox.start()
        found = ", ".join(f"{name} {value}" for name, value in sandbox.machine.items())
        return Check("evaluation worker", "any", True, found)
    except EvoflashError as error:
        fix = "check that `python -c 'import torch'` works" + (" and sees the GPU" if target.name == "cuda" else "")
        return Check("evaluation worker", "any", False, str(error), fix)


def families(target: Target, templates: tuple[Path, ...]) -> list[Check]:
    """Checks which families support the mission shape on a target."""
    mission = attention.parse("mission")
    left_out: list[str] = []
    loaded = load_all(templates, left_out.append)
    fix = "correct that file, or remove its folder"
    checks = [Check("a family", "optional", False, each, fix) for each in left_out]
    for family, template in sorted(loaded.items()):
        name = f"family {family}"
        if template.manifest.target != target.name:
            fix = "nothing, or install what is missing for its target"
            checks.append(Check(name, template.manifest.target, False, f"it is for {template.manifest.target}", fix))
            continue
        why = "; ".join(template.refusals(mission, target.facts))
        try:
            template.space([mission], target.facts).require_valid_genomes(random.Random(0))
        except EvoflashError as error:
            why = why or str(error)
        found = why or f"supports mission, {mission.label}"
        checks.append(Check(name, "optional", not why, found, "nothing, if another family fits"))
    return checks


def _cuda_of_torch() -> str | None:
    """The CUDA version of the PyTorch build, from its version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = re.search(r"^cuda\b.*=\s*'([^']+)'", read_text(str(Path(spec.origin).parent / "version.py")), re.MULTILINE)
    return found[1] if found else None


def _openmp(program: str) -> Check:
    with processes.temporary_folder("evoflash-doctor-", Path(tempfile.gettempdir())) as folder:
        source = folder / "parallel.cpp"
        source.write_text(OPENMP_PROGRAM)
        code, words = _run([program, "-O1", "-fopenmp", "-o", f"{folder}/parallel", str(source)])
        if code == 0:
            code, words = _run([f"{folder}/parallel"])
    works = code == 0 and words.startswith("4950 ")
    found = f"a program built and ran on {words.split()[1]} threads" if works else f"a program failed: {words}"
    return Check(
        "OpenMP", "cpu", works, found, "install the compiler's OpenMP (Debian: libgomp1, for clang libomp-dev)"
    )


def _devices() -> list[Check]:
    import pynvml

    fix = "use --target cpu, or install the NVIDIA driver"
    try:
        pynvml.nvmlInit()
        driver = pynvml.nvmlSystemGetDriverVersion()
        checks = [Check("NVIDIA driver", "cuda", True, str(driver))]
        count = pynvml.nvmlDeviceGetCount()
        for number in range(count):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            name = f"{pynvml.nvmlDeviceGetName(handle)}, {cuda.flag(major * 10 + minor)}"
            checks.append(Check(f"GPU {number}", "cuda", True, name))
    except pynvml.NVMLError as error:
        return [Check("NVIDIA driver", "cuda", False, str(error), fix)]
    if not count:
        checks.append(Check("CUDA device", "cuda", False, "there is none", "use a machine with an NVIDIA GPU"))
    return checks


def _nvcc_builds(program: str, flag: str) -> Check:
    """Builds a kernel, which shows whether nvcc supports the host compiler and the architecture."""
    with processes.temporary_folder("evoflash-doctor-", Path(tempfile.gettempdir())) as folder:
        source = folder / "twice.cu"
        source.write_text(CUDA_PROGRAM)
        code, words = _run([program, "-cubin", f"-arch={flag}", "-o", f"{folder}/twice.cubin", str(source)])
    found = f"a kernel was built for {flag}" if code == 0 else words
    fix = "install a host compiler that this nvcc supports, or a toolkit that supports this GPU"
    return Check("nvcc with its host compiler", "cuda", code == 0, found, fix)


def _writable(name: str, folder: Path) -> Check:
    """Checks by a temporary file that a folder, or its nearest existing parent, can be written."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    fix = "free space, or choose another folder"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0" * 4096)
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check(name, "any", False, f"{folder}: {error.strerror}", fix)
    return Check(name, "any", free >= MIN_FREE_BYTES, f"{folder}: {free / 2**30:.1f} GiB free", fix)


def _run(command: list[str]) -> tuple[int, str]:
    """The exit code of a program and its first error or line of output; 127 when it cannot be run."""
    try:
        answer = processes.run(command, 60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return answer.returncode, next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
