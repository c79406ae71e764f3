"""The command in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 120  # how long a test waits for what must happen; nothing here is about how soon


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`evoflash` with these arguments, its database and cache in the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVOFLASH_")}
    environment["EVOFLASH_CALLS"] = environment.get("EVOFLASH_CALLS", "0")  # that builds a package
    environment["EVOFLASH_REPORT"] = environment.get("EVOFLASH_REPORT", "0")  # that loads plotly
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "evoflash", *arguments, "--db", "runs.db", "--cache", "builds"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Fails when it takes too long, or the process ends before."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.3)  # each look reads the whole database, beside the run that it watches
