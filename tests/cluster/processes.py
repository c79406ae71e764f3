"""A scheduler of Dask's and nodes as processes of their own, which tests kill."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

WAIT_S = 120
REPOSITORY = Path(__file__).parents[2]


def until(condition: Callable[[], Any]) -> None:
    """Waits for what must happen; fails when it takes too long."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


class Processes:
    """What stands in a folder, and ends with the test.

    Attributes:
        address: of the scheduler.
        nodes: by name.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start_scheduler()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (*self.nodes.values(), self.scheduler):
            if each is not None:
                each.kill()
                each.wait(WAIT_S)

    def start_scheduler(self) -> None:
        """Starts it, at the same port every time; workers and clients wait for it."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", "-m", "distributed.cli.dask_scheduler", *where)

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait(WAIT_S)

    def start_node(self, name: str, **misbehaving: Any) -> None:
        """A node that makes results up."""
        own = (self.address, "cache", name, json.dumps(misbehaving))
        self.nodes[name] = self._start(name, "-m", "tests.cluster.made_up_node", *own)

    def start_worker(self, name: str, *options: str) -> None:
        """`evoflash worker`, with real kernels."""
        own = (self.address, "--name", name, "--cache", "cache", *options)
        self.nodes[name] = self._start(name, "-m", "evoflash", "worker", *own)

    def said(self, name: str) -> str:
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {each: value for each, value in os.environ.items() if not each.startswith("EVOFLASH_")}
        environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        own = self.folder / name
        own.mkdir(exist_ok=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen([sys.executable, *arguments], cwd=own, env=environment, stdout=log, stderr=log)
