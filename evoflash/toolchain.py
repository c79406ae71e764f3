"""Builds: one ninja build a source, in a folder of its own, under a deadline, into a content-addressed cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ninja

from evoflash.errors import StorageError
from evoflash.evaluation import BuildReport, Status
from evoflash.targets import Target
from evoflash.template import Source

LIBRARY = "kernel.so"
REPORT = "report.json"
LOG_CHARACTERS = 20_000  # of compiler output that are kept: a template error can print megabytes


@dataclass(frozen=True)
class Build:
    """The outcome of a build: a library, or the status and reason of a failure. Either way the compiler's report.

    Attributes:
        max_spill_bytes: the source's.
    """

    report: BuildReport
    library: Path | None = None
    status: Status | None = None
    reason: str = ""
    max_spill_bytes: int | None = None


class Toolchain:
    """Builds sources for one target.

    Args:
        target: whose commands are run.
        cache: the folder of finished builds; safe to share between processes, and to delete.
        deadline_s: seconds after which a build is killed.
        verbose: print commands and compiler output on standard error.
    """

    def __init__(self, target: Target, cache: Path, deadline_s: float = 60.0, verbose: bool = False):
        self.target = target
        self.cache = cache
        self.deadline_s = deadline_s
        self.verbose = verbose
        self._running: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Ends every build that runs and refuses further ones; their `build` raises CancelledError."""
        with self._guard:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def key(self, source: Source) -> str:
        """What a build is known by: the source, the compilers, their flags and the architecture."""
        return hashlib.sha256(f"{source.digest} {self.target.toolchain_digest}".encode()).hexdigest()[:32]

    def require_writable(self) -> None:
        """Raises StorageError when the cache cannot be written."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.cache) as file:
                file.write(b"0" * 4096)
        except OSError as error:
            raise self._refused(error) from None

    def build(self, source: Source) -> Build:
        """The library of a source, from the cache if it is there.

        Raises:
            StorageError: when the cache cannot be written.
        """
        return replace(self._find_or_build(source), max_spill_bytes=source.max_spill_bytes)

    def _find_or_build(self, source: Source) -> Build:
        key = self.key(source)
        home = self.cache / key[:2] / key
        known = self._cached(home)
        if known is not None:
            return known
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".building-", dir=self.cache) as folder:
                build = self._build(source, Path(folder))
                return self._keep(build, Path(folder), home) if build.library else build
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self.cache}: {error.strerror}; free space, or choose another folder by --cache"
        )

    def _cached(self, home: Path) -> Build | None:
        """A finished build, unless it is missing or not what its report says."""
        library = home / LIBRARY
        try:
            report = BuildReport.model_validate_json((home / REPORT).read_text())
            if _digest(library) == report.binary_digest:
                return Build(report.model_copy(update={"seconds": 0.0, "cached": True}), library)
        except (OSError, ValueError):
            pass
        return None

    def _build(self, source: Source, folder: Path) -> Build:
        (folder / self.target.source_name).write_text(source.text)
        self._write_ninja_file(folder)
        start = time.monotonic()
        log, code = self._run_ninja(folder)
        seconds = time.monotonic() - start
        if self.verbose:
            print(log, file=sys.stderr, end="")
        figures = self.target.figures(log)
        shared = figures.static_shared_bytes
        report = BuildReport(
            seconds=seconds,
            registers=figures.registers,
            shared_bytes=None if shared is None else shared + (source.shared_bytes or 0),
            spill_bytes=figures.spill_bytes,
            stack_bytes=figures.stack_bytes,
            log=log.replace(f"{folder}/", "")[-LOG_CHARACTERS:],
        )
        if code is None:
            reason = f"the build took longer than {self.deadline_s:g} s"
            return Build(report, status=Status.BUILD_TIMEOUT, reason=reason)
        if code:
            return Build(report, status=Status.BUILD_FAILED, reason=_first_error(log))
        report = report.model_copy(update={"binary_digest": _digest(folder / LIBRARY)})
        return Build(report, folder / LIBRARY)

    def _write_ninja_file(self, folder: Path) -> None:
        # The deadline kills ninja; the limit on processor time ends a compiler that outlives it, even when this
        # process is gone.
        limit = int(self.deadline_s) + 10
        with open(folder / "build.ninja", "w", encoding="utf-8") as file:
            writer: Any = ninja.Writer(file)  # type: ignore[arg-type] - it takes any file, and says that it takes a str
            for number, step in enumerate(self.target.steps()):
                command = step.command.replace("$", "$$")
                writer.rule(f"step{number}", f"ulimit -t {limit}; {command}")
                writer.build(step.output, f"step{number}", list(step.inputs))

    def _run_ninja(self, folder: Path) -> tuple[str, int | None]:
        """Output and exit code; the code is None at the deadline."""
        program = os.path.join(ninja.BIN_DIR, "ninja")
        arguments = [program, "-C", str(folder), "-j", "1", "--verbose" if self.verbose else "--quiet"]
        with self._guard:
            if self._stopped:
                raise CancelledError
            process = self._spawn(arguments)
            self._running.add(process)
        try:
            log, _ = process.communicate(timeout=self.deadline_s)
            if self._stopped:
                raise CancelledError
            return log, process.returncode
        except subprocess.TimeoutExpired:
            return _stop(process), None
        finally:
            with self._guard:
                self._running.discard(process)

    def _spawn(self, arguments: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _keep(self, build: Build, folder: Path, home: Path) -> Build:
        """Moves a finished build into the cache in one step; a process that was faster keeps its own."""
        (folder / REPORT).write_text(build.report.model_dump_json())
        home.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(2):
            try:
                # The folder is copied by a rename; TemporaryDirectory then finds nothing to remove, so it gets an
                # empty one.
                os.rename(folder, home)
                folder.mkdir()
                break
            except OSError:
                known = self._cached(home)
                if known is not None:
                    return Build(build.report, known.library)
                if attempt:
                    raise
                shutil.rmtree(home, ignore_errors=True)  # a damaged entry
        return Build(build.report, home / LIBRARY)


def _stop(process: subprocess.Popen[str]) -> str:
    """Ends ninja and its compilers: each is in a process group of its own, and ninja passes SIGTERM on."""
    process.terminate()
    try:
        log, _ = process.communicate(timeout=3)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        log, _ = process.communicate()
    return log


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _first_error(log: str) -> str:
    """The compiler's first complaint."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next(
        (line for line in lines if "error" in line.lower()), lines[-1] if lines else "the compiler said nothing"
    )
