"""The process that cleans up after a driver that had no time to: killed, out of memory, gone with its terminal.

`python -m evoflash.system.reaper MARK` reads lines from standard input, `+ FOLDER` and `- FOLDER`, folders as JSON.
When the input ends, which happens when the driver is gone, however it went, it kills every process that carries MARK
in its environment and removes the folders that are still on its list. It has a session of its own, so that what ends
the driver's terminal or process group does not end it.
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

MARK = "EVOFLASH_OWNED_BY"  # the variable that every child process inherits, and its children in turn
ROUNDS = 100  # after which what cannot be killed, since the system holds it, is left
SETTLED_S = 0.05  # between two looks; a process that is being started shows its environment within that


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark and live."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone, or another user's
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_marked(mark: str) -> None:
    """Kills them until two looks in a row find none, since what is being started is not marked yet."""
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
    """Entry of the process."""
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
