"""Real searches by the real command, in a folder of their own, and what they leave behind in processes and files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from evoflash.store import RunStore
from tests.helpers import FIXTURES, SHAPE, TINY

WAIT_S = 120  # how long a test waits for what must happen; nothing here is about how soon
REPOSITORY = Path(__file__).parents[2]


class Run:
    """One `evoflash` command that runs, or has run.

    Its standard error goes to a file, so that what it said before it was killed can be read.
    """

    def __init__(self, folder: Path, *arguments: str, db: str = "runs.db", **variables: str):
        self.folder = folder
        self._said = folder / f"said-{time.monotonic_ns()}"
        (folder / "tmp").mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVOFLASH_")}
        paths = f"{REPOSITORY}{os.pathsep}{environment.get('PYTHONPATH', '')}".rstrip(os.pathsep)
        environment |= {"PYTHONPATH": paths, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONFAULTHANDLER": "1", **variables}  # SIGABRT prints where each thread is
        command = [sys.executable, "-m", "evoflash.cli.main", *arguments, "--db", db, "--cache", "builds"]
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    def events(self, kind: str = "candidate") -> list[dict[str, Any]]:
        """What it reported so far, in whole lines."""
        found = []
        for line in self.said.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                with contextlib.suppress(json.JSONDecodeError):  # a line of the result, which is a longer document
                    found.append(json.loads(line))
        return [each for each in found if each.get("event") == kind]

    def until(self, condition: Callable[[], Any]) -> None:
        """Waits for something while the command runs."""
        end = time.monotonic() + WAIT_S
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, f"it took too long: {self.said}"
            time.sleep(0.02)

    def end(self) -> int:
        """Waits for its end; the exit code."""
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(WAIT_S)
            raise AssertionError(f"it did not end: {self.said}") from None
        assert "Traceback" not in self.said, self.said
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)


def search(folder: Path, *arguments: str, family: str = "tiny", db: str = "runs.db", **variables: str) -> Run:
    """A search of a fixture family with the least of everything."""
    own = ["--templates", str(FIXTURES / family), "--templates", str(TINY), "--family", family]
    fixed = [*own, "--shape", SHAPE, "--target", "cpu", "--effort", "least", "--strategy", "random", "--jobs", "2"]
    return Run(folder, "search", *fixed, "--events", *arguments, db=db, **variables)


def resume(folder: Path, **variables: str) -> Run:
    return Run(folder, "resume", "--events", **variables)


def recorded(folder: Path):
    """Every candidate of the first run, by index."""
    with RunStore.open(str(folder / "runs.db")) as store:
        return store.recorded(1)


def status(folder: Path) -> str:
    with RunStore.open(str(folder / "runs.db")) as store:
        return store.run(1).status


def processes_of(folder: Path) -> list[psutil.Process]:
    """Whatever a command in this folder has started and that lives: by working directory, `TMPDIR` or session."""
    every = [each for each in psutil.process_iter() if each.pid != os.getpid()]
    own = [each for each in every if _belongs(each, folder)]
    sessions = {_session(each) for each in own} - {os.getsid(0), None}
    return [each for each in every if each in own or _session(each) in sessions]


def _belongs(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        within = process.environ().get("TMPDIR", "").startswith(str(folder))
        return within or process.cwd().startswith(str(folder))
    except psutil.Error:
        return False


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (OSError, psutil.Error):
        return None


def require_nothing_left(folder: Path) -> None:
    """No process of a command in this folder remains, and no temporary file or folder."""
    end = time.monotonic() + 20
    while left := processes_of(folder):  # the reaper takes a moment
        assert time.monotonic() < end, [each.cmdline() for each in left if each.is_running()]
        time.sleep(0.05)
    temporary = [each.name for each in (folder / "tmp").iterdir() if each.suffix != ".lock"]
    assert temporary == []
    # An export is made in a hidden folder beside its place, a build in one of the cache.
    assert [str(each) for each in folder.rglob(".*") if not each.name.startswith(".ninja")] == []


def require_all_reported(folder: Path, *runs: Run) -> None:
    """Whatever was reported as finished is in the database, once and whole, and nothing else is half there."""
    found = recorded(folder)
    indices = [candidate.index for candidate, _ in found]
    assert len(set(indices)) == len(indices)
    by_index = {candidate.index: (candidate, evaluation) for candidate, evaluation in found}
    for run in runs:
        for event in run.events():
            candidate, evaluation = by_index[event["index"]]
            told = (event["family"], event["genome"], event["status"], event["p50_us"])
            assert told == (candidate.family, dict(candidate.genome), evaluation.status, evaluation.fitness_us)
    with RunStore.open(str(folder / "runs.db")) as store:
        for candidate, evaluation in found:
            stored = store.candidate(store.candidate_id(1, candidate.index))
            assert stored.source
            assert bool(evaluation.timings) == (evaluation.status in ("ok", "duplicate"))
            assert evaluation.build is not None or evaluation.status == "duplicate"
