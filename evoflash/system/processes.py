"""Child processes: what they may see of us, what they may take, and that none outlives us.

Each leads a session of its own, gets an environment of named variables only, and carries a mark by which
`evoflash.system.reaper` finds it, and all that it started, when this process is gone without having cleaned up.
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
from typing import Any

import psutil

from evoflash.system.reaper import MARK

GIB = 1024**3

# What compilers, PyTorch and CUDA need to be told. Everything else, whatever secrets it holds, stays here.
PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TZ|LANG|LC_\w+|XDG_CACHE_HOME|VIRTUAL_ENV|CONDA_PREFIX|PYTHON\w*"
    r"|LD_LIBRARY_PATH|LD_PRELOAD|CC|CXX|CPATH|C_INCLUDE_PATH|CPLUS_INCLUDE_PATH|LIBRARY_PATH|COMPILER_PATH|CCACHE_DIR"
    r"|(CUDA|CUDNN|CUBLAS|NVIDIA|NVCC|NV|OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|TORCH|PYTORCH|ASAN|UBSAN|LSAN)_\w+"
)
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|PRIVATE", re.IGNORECASE)

FILE_BYTES = 2 * GIB  # that a child may write into one file: a kernel that prints for ever must not fill the disk
ROUNDS = 400  # of killing, 5 ms each: what forks as fast as it is killed, or hangs in the system, is given up
PROCESSES = 1024  # that a user may have more than now; root is not held to it, by the system's rule

_programs: set[subprocess.Popen[str]] = set()  # that `run` waits for


def environment(**more: str) -> dict[str, str]:
    """What a child process sees: the variables of `PASSED`, and these."""
    passed = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name) and not SECRET.search(name)}
    return {**passed, **more}


def start(
    arguments: Sequence[str], *, variables: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """A child process in a session of its own, with standard input closed.

    Args:
        variables: of its environment, beside the usual ones.
        options: as for `subprocess.Popen`.
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
    """A program from its start, as by `start`, to its end; output and errors are kept apart unless an option says else.

    Raises:
        OSError: when there is no such program.
        subprocess.TimeoutExpired: when it has not ended in time; it is killed, with all that it began, as it is
            whenever something interrupts the wait.
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
    """Kills whatever `run` waits for, in any thread; it comes back there as killed."""
    for process in tuple(_programs):
        kill(process)


def kill(process: subprocess.Popen[Any]) -> None:
    """Kills a process that `start` began and everything in its session, whatever process groups that made."""
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
    """A new folder in an existing one; it is removed at the end, also when this process is killed before.

    Raises:
        OSError: when it cannot be made or removed.
    """
    folder = where.absolute() / f"{prefix}{uuid.uuid4().hex[:12]}"
    _reaper().tell("+", str(folder))  # first, so that no moment is left in which nobody would remove it
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        _reaper().tell("-", str(folder))


def restrain() -> None:
    """Limits this process, a child: no core dumps, no endless files, no endless processes, and the first to go when
    memory runs out.

    Address space is not limited, since CUDA maps more of it than any machine has; `evaluator.sandbox` watches what is
    really used.
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


def memory_bytes() -> int:
    """Bytes of memory that the processes of this machine or container may use."""
    limits = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return min(limits)


class _Reaper:
    """This process's line to its reaper, which is begun anew when it has been killed."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._folders: dict[str, None] = {}
        self._guard = threading.Lock()
        self._process = self._start()
        atexit.register(self._close)

    def tell(self, sign: str, folder: str) -> None:
        """Puts a folder on the list, or takes it off."""
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
        """Nothing of ours is left when the command ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()


_known: list[_Reaper] = []
_guard = threading.Lock()


def _reaper() -> _Reaper:
    """The one of this process, begun with its first child or temporary folder."""
    with _guard:
        if not _known:
            _known.append(_Reaper())
        return _known[0]
