"""A search that runs: what its processes see, what they may take, and that none of them listens."""

import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

import evoflash
from evoflash import targets
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.status import Status
from evoflash.evaluator.messages import Examine, Prepare
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.problems.attention.members import ATTENTION
from evoflash.system import processes
from tests.faults.command import processes_of, require_nothing_left, search
from tests.helpers import PROBLEM

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "GITHUB_TOKEN": "hunter2",
    "CUDA_API_KEY": "hunter2",
    "TORCH_HUB_TOKEN": "hunter2",
    "DATABASE_URL": "postgresql://me:hunter2@example.org/db",
    "MY_VARIABLE": "hunter2",
}


def test_children_see_named_variables_only_are_limited_and_nothing_listens(tmp_path):
    run = search(tmp_path, "--budget", "100", **SECRETS)
    listening, sockets, children = [], 0, {}
    assert isinstance(run.process.args, list)
    own = " ".join(map(str, run.process.args))
    while len(run.events()) < 6:
        assert run.process.poll() is None, run.said
        for process in processes_of(tmp_path):
            try:
                connections = process.net_connections(kind="all")
                sockets += len(connections)
                inet = [each for each in connections if each.family.name in ("AF_INET", "AF_INET6")]
                listening += [
                    each for each in inet if each.status == psutil.CONN_LISTEN or each.type.name == "SOCK_DGRAM"
                ]
                line = " ".join(process.cmdline())
                if line != own:  # a child that has not become its program yet is still a copy of the driver
                    children[process.pid] = (line, process.environ())
                if "evoflash.worker.worker" in line:
                    worker = process
            except psutil.Error:
                pass  # it has ended
    assert worker.rlimit(resource.RLIMIT_CORE) == (0, 0)
    assert worker.rlimit(resource.RLIMIT_FSIZE)[0] <= processes.FILE_BYTES
    assert worker.rlimit(resource.RLIMIT_NPROC)[0] != resource.RLIM_INFINITY
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130
    require_nothing_left(tmp_path)
    assert sockets > 0  # the pair between driver and worker, so looking works
    assert listening == []
    lines = [line for line, _ in children.values()]
    assert any("ninja" in line for line in lines)
    assert any("evoflash.worker.worker" in line for line in lines)
    for line, variables in children.values():
        assert "hunter2" not in "".join(variables.values()), line


KERNEL = (
    f"""
#define SIGNATURE "{ATTENTION.signature}"
"""
    + """
#include <stddef.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
extern "C" { extern const char evoflash_interface[] = SIGNATURE; }
extern "C" size_t evoflash_workspace_bytes(const void *) { return 0; }
extern "C" int evoflash_launch(const void *, void *) {
  for (;;) memset(malloc(16 << 20), 1, 16 << 20), usleep(5000);
}
"""
)


@pytest.fixture
def hungry(tmp_path):
    build = Toolchain(targets.detect("cpu"), tmp_path / "cache").build(Source(KERNEL, "c++"))
    assert build.library is not None, build.reason
    return build.library


def test_every_program_is_started_in_one_place():
    package = Path(evoflash.__file__).parent
    starting = re.compile(r"subprocess\.(run|Popen\(|call|check|getoutput)|os\.(system|popen|exec|spawn|posix_spawn)")
    found = {path.name for path in package.rglob("*.py") if starting.search(path.read_text(encoding="utf-8"))}
    assert found == {"processes.py"}


def test_a_program_that_runs_too_long_is_killed_with_what_it_began(tmp_path):
    begun = tmp_path / "begun"
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sh", "-c", f"sleep 71 & echo $$ > {begun}; sleep 71"], 1.0)
    leader = int(begun.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(leader, 0)


def test_a_kernel_that_takes_all_memory_is_stopped(hungry):
    problem = PROBLEM
    with Sandbox("cpu", Prepare(problem=problem)) as sandbox:
        sandbox.start()
        sandbox._memory_limit = sandbox._memory_bytes() + 200 * 1024**2
        request = Examine(problem=problem, library=hungry, best_us=None, samples=2, quick_samples=1)
        death = sandbox.call(request, 60)
    assert isinstance(death, WorkerDeath)
    assert death.status is Status.CRASHED
    assert "of memory while checking seed 0" in death.reason
    assert not death.killed


def test_a_worker_that_has_grown_is_replaced(monkeypatch):
    problem = PROBLEM
    with Sandbox("cpu") as sandbox:
        for expected in (1, 1):
            assert not isinstance(sandbox.call(Prepare(problem=problem), 60), WorkerDeath)
            assert sandbox.starts == expected
        sandbox._first_bytes = -(10 * 1024**3)
        sandbox.call(Prepare(problem=problem), 60)  # its answer is taken, then it goes
        assert sandbox._process is None
        sandbox.call(Prepare(problem=problem), 60)
        assert sandbox.starts == 2


def test_the_environment_of_a_child(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("EVOFLASH_DB", "postgresql://me:hunter2@example.org/db")
    seen = processes.environment(MORE="yes")
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["MORE"] == "yes"
    assert "PATH" in seen
    assert "hunter2" not in "".join(seen.values())
