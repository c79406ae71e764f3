"""Child processes, with a restricted environment and limits, and without leftovers.

Each child leads its own session and gets only the environment variables of `PASSED`. It also carries a mark in its
environment, by which `evoflash.system.reaper` finds and kills it and its descendants if this process dies without
cleaning up.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from evoflash.system.reaper import MARK

GIB = 1024**3


class Started(Protocol):
    """A process that leads a session of its own."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...


# Environment variables that compilers, PyTorch, CUDA and rivals need. Others may hold secrets, and are not passed on.
PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+|XDG_CACHE_HOME|VIRTUAL_ENV|CONDA_PREFIX|PYTHON\w*"
    r"|LD_LIBRARY_PATH|LD_PRELOAD|CC|CXX|CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH|COMPILER_PATH|CCACHE_DIR"
    r"|(CUDA|CUDNN|CUBLAS|NVIDIA|NVCC|NV|OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|TORCH|PYTORCH|ASAN|UBSAN|LSAN)_\w+"
    r"|(TORCHINDUCTOR|TRITON|CUTE_DSL|FLASH_ATTENTION|FLASHINFER|XFORMERS)_\w+"
)
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE", re.IGNORECASE)

FILE_BYTES = 2 * GIB  # limit of a file, so that a kernel that prints forever does not fill the disk
ROUNDS = 400  # attempts, 5 ms apart, to kill a session, which may fork as fast as it is killed or hang in the kernel
PROCESSES = 1024  # additional processes that a user may have; the system does not enforce this for root

_programs: set[subprocess.Popen[str]] = set()  # programs that `run` is waiting for


def environment(**more: str) -> dict[str, str]:
    """The environment of a child process: the variables of `PASSED`, and the given ones."""
    passed = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name) and not SECRET.search(name)}
    return {**passed, **more}


def start(
    arguments: Sequence[str], *, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Starts a child process in its own session, with standard input closed.

    Args:
        variables: additional environment variables.
        options: passed to `subprocess.Popen`.
    """
    mark = _reaper().mark
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env=environment(**(variables or {}), **{MARK: mark}),
        **options,
    )


def run(
    arguments: Sequence[str], seconds: float, *, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Starts a program with `start` and waits for it; standard output and error are captured separately by default.

    The program and its descendants are killed when the wait times out or is interrupted.

    Raises:
        OSError: when there is no such program.
        subprocess.TimeoutExpired: when it has not ended in time.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(arguments, variables=variables, text=True, errors="replace", **{**streams, **options})
    _programs.add(process)
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException:
        kill(process)
        process.communicate()
        raise
    finally:
        _programs.discard(process)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def end_programs() -> None:
    """Kills all programs that `run` is waiting for, in any thread."""
    for process in tuple(_programs):
        kill(process)


def kill(process: Started) -> None:
    """Kills a process that leads a session and everything in its session, in any process group."""
    for _ in range(ROUNDS):
        members = _session(process.pid)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.005)


def _session(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


@contextlib.contextmanager
def temporary_folder(prefix: str, where: Path) -> Iterator[Path]:
    """A new folder inside `where`, removed at the end, even if this process is killed.

    Raises:
        OSError: when it cannot be created or removed.
    """
    folder = where.absolute() / f"{prefix}{uuid.uuid4().hex[:12]}"
    _reaper().tell("+", str(folder))  # before it exists, so that it is always removed
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        _reaper().tell("-", str(folder))


def restrain() -> None:
    """Limits this process, which is a child: no core dumps, limited file sizes and processes, first OOM candidate.

    Address space is not limited, since CUDA maps more of it than any machine has. `evaluator.sandbox` monitors the
    memory in use instead.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, FILE_BYTES)
    _lower(resource.RLIMIT_NPROC, _threads_of_user() + PROCESSES)
    with contextlib.suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _lower(which: int, value: int) -> None:
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))


def _threads_of_user() -> int:
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == os.getuid():
                count += process.num_threads()
    return count


class _Reaper:
    """The connection of this process to its reaper, which is restarted if it was killed."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._folders: dict[str, None] = {}
        self._guard = threading.Lock()
        self._process = self._start()
        atexit.register(self._close)

    def tell(self, sign: str, folder: str) -> None:
        """Adds a folder to the reaper's list ("+") or removes it ("-")."""
        with self._guard:
            if sign == "+":
                self._folders[folder] = None
            else:
                self._folders.pop(folder, None)
            try:
                self._write(sign, folder)
            except OSError:
                self._process = self._start()
                for each in self._folders:
                    self._write("+", each)

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "evoflash.system.reaper", self.mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
            text=True,
        )

    def _write(self, sign: str, folder: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{sign} {json.dumps(folder)}\n")
        self._process.stdin.flush()

    def _close(self) -> None:
        """Ends the reaper, and waits until it has cleaned up."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()


_known: list[_Reaper] = []
_guard = threading.Lock()


def _reaper() -> _Reaper:
    """The reaper of this process, started with its first child or temporary folder."""
    with _guard:
        if not _known:
            _known.append(_Reaper())
        return _known[0]
