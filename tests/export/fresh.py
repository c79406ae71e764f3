"""Programs, each in a process as fresh as a new one that has torch: a fork of a server that has imported it.

To import it takes seconds.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch"])
TIMEOUT_S = 280


def run(program: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a program that finds a folder first, with this environment.

    Raises:
        CalledProcessError: when it fails, or takes too long.
    """
    with tempfile.TemporaryDirectory() as outputs:
        out, err = Path(outputs) / "out", Path(outputs) / "err"
        process = CONTEXT.Process(target=_execute, args=(program, str(folder), dict(environment), out, err))
        process.start()
        process.join(TIMEOUT_S)
        process.kill()
        process.join()
        done = subprocess.CompletedProcess(program, process.exitcode or 0, out.read_text(), err.read_text())
    done.check_returncode()
    return done


def _execute(program: str, folder: str, environment: dict[str, str], out: Path, err: Path) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
