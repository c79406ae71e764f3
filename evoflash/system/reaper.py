"""The reaper: a process that cleans up after a driver that was killed.

`python -m evoflash.system.reaper MARK` reads lines from standard input, `+ FOLDER` and `- FOLDER` with the folder as
JSON. When the input ends, because the driver has ended in any way, it kills every process that carries MARK in its
environment and removes the folders that are still on its list. It has its own session, so that signals to the driver's
terminal or process group do not end it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

MARK = "EVOFLASH_OWNED_BY"  # environment variable that all descendants inherit
ROUNDS = 100  # attempts, since a process may hang in the kernel
SETTLED_S = 0.05  # interval between attempts; the environment of a new process is visible within this time


def marked(mark: str) -> list[psutil.Process]:
    """The live processes that carry a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # ended, or another user's
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_marked(mark: str) -> None:
    """Kills marked processes until none is found twice in a row, since a new process is not marked at once."""
    quiet = 0
    for _ in range(ROUNDS):
        processes = marked(mark)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        quiet = 0 if processes else quiet + 1
        if quiet == 2:
            return
        time.sleep(SETTLED_S)


def main() -> None:
    """Entry point of the process."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    mark = sys.argv[1]
    folders: dict[str, None] = {}
    for line in sys.stdin:
        sign, _, text = line.partition(" ")
        if sign == "+":
            folders[json.loads(text)] = None
        else:
            folders.pop(json.loads(text), None)
    kill_marked(mark)
    for folder in folders:
        shutil.rmtree(Path(folder), ignore_errors=True)


if __name__ == "__main__":
    main()
