"""Compilers that stay loaded: one process for many builds, and a new one when it dies, hangs or has served enough."""

import random
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from evoflash.codegen import compiler_services
from evoflash.codegen.compiler_services import CompilerServices
from evoflash.codegen.template import load
from evoflash.problems.attention import AttentionProblem
from evoflash.system import processes
from evoflash.targets import cuda
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
