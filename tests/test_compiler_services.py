"""Compilers that stay loaded: one process for many builds, and a new one when it dies, hangs or has served enough."""

import contextlib
import platform
import random
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evoflash.codegen import compiler_services
from evoflash.codegen.compiler_services import CompilerServices
from evoflash.codegen.template import load
from evoflash.problems.attention import AttentionProblem
from evoflash.system import processes
from evoflash.targets import cuda, nvrtc, nvrtc_service
from evoflash.targets.base import Service

# Answers with its process, its folder and the arguments, or does what the first argument says.
PROGRAM = """
import json, os, sys, time
fd = int(sys.argv[1])
with open(fd, "rb") as requests, open(fd, "wb", closefd=False) as answers:
    for line in requests:
        folder, *arguments = json.loads(line)
        if arguments == ["crash"]:
            os.abort()
        if arguments == ["hang"]:
            time.sleep(600)
        answers.write(json.dumps([0, f"{os.getpid()} {folder} {arguments}"]).encode() + b"\\n")
        answers.flush()
"""


@pytest.fixture
def services():
    made = CompilerServices(processes.GIB)
    yield made
    made.stop()


def service(*arguments: str) -> Service:
    return Service((sys.executable, "-I", "-S", "-c", PROGRAM), arguments)


def pid(services: CompilerServices, folder: Path) -> str:
    output, code = services.call(service("a b", "$c"), folder, 60)
    assert code == 0
    number, where, arguments = output.split(" ", 2)
    assert (where, arguments) == (str(folder), "['a b', '$c']")
    return number


def test_one_process_serves_many_builds(services: CompilerServices, tmp_path: Path):
    assert pid(services, tmp_path) == pid(services, tmp_path)


def test_builds_at_the_same_time_have_processes_of_their_own(services: CompilerServices, tmp_path: Path):
    hanging = threading.Thread(target=services.call, args=(service("hang"), tmp_path, 2))
    first = pid(services, tmp_path)
    hanging.start()
    time.sleep(0.2)
    assert pid(services, tmp_path) != first
    hanging.join()


def test_a_crash_is_an_error_of_that_build_alone(services: CompilerServices, tmp_path: Path):
    before = pid(services, tmp_path)
    assert services.call(service("crash"), tmp_path, 60) == ("error: the compiler died by SIGABRT\n", -6)
    assert pid(services, tmp_path) != before


def test_a_hang_ends_at_the_deadline(services: CompilerServices, tmp_path: Path):
    before = pid(services, tmp_path)
    assert services.call(service("hang"), tmp_path, 0.2) == ("", None)
    assert pid(services, tmp_path) != before


def test_is_replaced_after_many_builds(services: CompilerServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler_services, "BUILDS", 2)
    first, second, third = (pid(services, tmp_path) for _ in range(3))
    assert first == second != third


def test_stop_cancels_calls_in_progress_and_later_ones(services: CompilerServices, tmp_path: Path):
    timer = threading.Timer(0.3, services.stop)
    timer.start()
    start = time.monotonic()
    with pytest.raises(CancelledError):
        services.call(service("hang"), tmp_path, 60)
    assert time.monotonic() - start < 30
    timer.join()
    with pytest.raises(CancelledError):
        services.call(service(), tmp_path, 60)


@pytest.mark.nvcc
def test_nvrtc_makes_the_same_of_a_kernel_whether_it_stays_loaded(services: CompilerServices, tmp_path: Path):
    target = cuda.of_arch("90")
    step, _ = target.steps()
    if step.service is None:
        pytest.skip("there is no NVRTC")
    problem = AttentionProblem.of(1, 8, 512, 64)
    template = load("split")
    genome = template.space([problem], target.facts).sample(random.Random(0))
    (tmp_path / "kernel.cu").write_text(template.render(genome, problem, target.facts).text)
    by_command = subprocess.run(shlex.split(step.command), cwd=tmp_path, text=True, capture_output=True, check=True)
    cubin = (tmp_path / "device.cubin").read_bytes()
    for _ in range(2):
        (tmp_path / "device.cubin").unlink()
        output, code = services.call(step.service, tmp_path, 60)
        assert (target.figures(output), code) == (target.figures(by_command.stdout), 0)
        assert (tmp_path / "device.cubin").read_bytes() == cubin
    (tmp_path / "kernel.cu").write_text("no kernel")
    output, code = services.call(step.service, tmp_path, 60)
    assert code == 1
    assert "error" in output


# What the second of two equal allocations costs in page faults, once the first is freed.
SECOND_ALLOCATION = """
import ctypes, resource, runpy, sys
service = runpy.run_path(sys.argv[1])
if sys.argv[2] == "keeping":
    service["keep_memory"]()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(20 << 20)
    libc.memset(block, 1, 20 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries decide themselves what they keep")
def test_the_memory_of_a_build_is_kept_for_the_next():
    def faults(how: str) -> int:
        command = [sys.executable, "-I", "-S", "-c", SECOND_ALLOCATION, nvrtc_service.__file__, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keeping") < 100 < faults("giving back")


@pytest.mark.parametrize("code", [0, 6])
def test_no_program_stays_behind_in_nvrtc(code: int):
    programs: list[str] = []
    calls = {
        "nvrtcCreateProgram": lambda *_: programs.append("one"),
        "nvrtcCompileProgram": lambda *_: code,
        "nvrtcDestroyProgram": lambda _: programs.pop(),
    }
    results = {f"nvrtcGet{what}": lambda *_: 0 for what in ("ProgramLogSize", "ProgramLog", "CUBINSize", "CUBIN")}
    library: Any = SimpleNamespace(**calls, **results)
    with pytest.raises(nvrtc.CompilationError) if code else contextlib.nullcontext():
        nvrtc.compile_cubin(library, b"a kernel", "kernel.cu", [])
    assert programs == []
