"""The toolchain: builds each source by ninja, in its own folder and with limits, into a content-addressed cache.

What loads slowly and compiles fast stays loaded between builds (compiler_services.py), and system headers are
precompiled where many sources are to be built.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ninja

from evoflash.codegen.build_cache import BUILDING, LIBRARY, BuildCache, file_digest, is_intact
from evoflash.codegen.compiler_services import CompilerServices
from evoflash.codegen.source import Source
from evoflash.codegen.system_headers import system_headers
from evoflash.core.evaluation import BuildReport
from evoflash.core.status import Status
from evoflash.system import processes
from evoflash.targets import Step, Target

PYTHON = "kernel.py"  # a kernel that is a module
LOG_CHARACTERS = 20_000  # stored characters of compiler output; a template error can print megabytes
COMPILER_BYTES = 16 * processes.GIB  # address space of a compiler, in case a template unrolls without end

# Compiler output when the machine failed, not the source.
REFUSED_BY_DISK = re.compile(r"No space left on device|Disk quota exceeded|File size limit exceeded|File too large")
KILLED = re.compile(r"\bKilled\b|code=137|signal 9")


@dataclass(frozen=True)
class Build:
    """The outcome of a build: a library, or the status and reason of a failure, and the compiler's report.

    Attributes:
        max_spill_bytes: the limit that the source sets for itself.
    """

    report: BuildReport
    library: Path | None = None
    status: Status | None = None
    reason: str = ""
    max_spill_bytes: int | None = None

    @property
    def is_intact(self) -> bool:
        """Whether there is a library, and it is unchanged since the build."""
        return self.library is not None and is_intact(self.library, self.report)


class Toolchain:
    """Builds sources for one target.

    Args:
        target: provides the commands.
        cache: the folder of finished builds; can be shared between processes, and deleted.
        deadline_s: seconds after which a build is killed.
        verbose: print commands and compiler output to standard error.
        many: precompile system headers. They are half of what a CPU kernel takes to compile; to precompile them takes
            as long as two kernels, and 40 MB in the cache.
    """

    def __init__(
        self, target: Target, cache: Path, deadline_s: float = 60.0, verbose: bool = False, many: bool = False
    ):
        self.target = target
        self.cache = cache
        self.deadline_s = deadline_s
        self.verbose = verbose
        self.many = many
        self._headers: dict[str, Path | None] = {}  # precompiled, by the lines that include them
        self._headers_guard = threading.Lock()
        self._cache = BuildCache(cache)
        self._services = CompilerServices(COMPILER_BYTES)
        self._running: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Kills all running builds and refuses further ones; their `build` raises CancelledError."""
        with self._guard:
            self._stopped = True
            for process in self._running:
                processes.kill(process)
        self._services.stop()

    def key(self, source: Source) -> str:
        """The cache key of a build: a hash of the source, the compilers, their flags and the architecture.

        Of folders of headers the newest file counts, too.
        """
        if source.language == "python":
            return hashlib.sha256(f"{source.digest} python".encode()).hexdigest()[:32]
        headers = "".join(f" {path} {_newest(path)}" for path in source.include_paths)
        return hashlib.sha256(f"{source.digest} {self.target.toolchain_digest}{headers}".encode()).hexdigest()[:32]

    def require_writable(self) -> None:
        """Raises StorageError when the cache cannot be written."""
        self._cache.require_writable()

    def build(self, source: Source) -> Build:
        """Builds a source, or finds it in the cache.

        Raises:
            StorageError: when the cache cannot be written, or the disk is full.
        """
        return replace(self._find_or_build(source), max_spill_bytes=source.max_spill_bytes)

    def restored(self, build: Build, source: Source) -> Build:
        """The build itself if its library is unchanged; otherwise a new build, e.g. after the cache was cleared."""
        return build if build.library is None or build.is_intact else self.build(source)

    def known(self, source: Source) -> Build | None:
        """The build of a source that is in the cache."""
        found = self._cache.find(self.key(source), _product(source))
        if found is None:
            return None
        report, library = found
        return Build(report.model_copy(update={"seconds": 0.0, "cached": True}), library)

    def adopt(self, source: Source, build: Build, library: bytes) -> Build:
        """Takes over the build of a source from another host, so that it need not be built again; or builds it.

        Args:
            library: its content. What is not what the build reports is not taken.

        Raises:
            StorageError: when the cache cannot be written.
        """
        if hashlib.sha256(library).hexdigest() != build.report.binary_digest:
            return self.build(source)
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with processes.temporary_folder(BUILDING, self.cache) as folder:
                (folder / _product(source)).write_bytes(library)
                path = self._cache.keep(self.key(source), folder, build.report, _product(source))
        except OSError as error:
            raise self._cache.refused(error) from None
        return replace(build, library=path)

    def _find_or_build(self, source: Source) -> Build:
        key, product = self.key(source), _product(source)
        known = self.known(source)
        if known is not None:
            return known
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with processes.temporary_folder(BUILDING, self.cache) as folder:
                build = _module(source, folder) if product == PYTHON else self._build(source, folder)
                if build.library is None:
                    return build
                return replace(build, library=self._cache.keep(key, folder, build.report, product))
        except OSError as error:
            raise self._cache.refused(error) from None

    def _build(self, source: Source, folder: Path) -> Build:
        (folder / self.target.source_name).write_text(source.text, encoding="utf-8")
        start = time.monotonic()
        headers = self._precompiled_headers(source)
        log, code = self._run_steps(folder, headers, source.include_paths)
        was_killed = code and KILLED.search(
            f"{log} signal {-code}"
        )  # by a user or the OOM killer, not due to the source
        if was_killed or (
            code and headers is not None and not headers.exists()
        ):  # the cache may be deleted at any time
            log, code = self._run_steps(folder, None, source.include_paths)
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
            refusal = REFUSED_BY_DISK.search(log)
            if refusal:
                raise self._cache.refused(refusal[0])
            return Build(report, status=Status.BUILD_FAILED, reason=_first_error(log))
        report = report.model_copy(update={"binary_digest": file_digest(folder / LIBRARY)})
        return Build(report, folder / LIBRARY)

    def _precompiled_headers(self, source: Source) -> Path | None:
        """A header that includes the source's system headers, with its precompiled form beside it."""
        step = self.target.headers_step if self.many else None
        lines = "" if step is None else system_headers(source.text)
        if step is None or not lines:
            return None
        with self._headers_guard:  # the first build precompiles them, and the others wait for it
            known = self._headers.get(lines)
            if lines not in self._headers or (known is not None and not known.exists()):
                self._headers[lines] = self._precompile(lines, step)
            return self._headers[lines]

    def _precompile(self, lines: str, step: Step) -> Path | None:
        """None if the compiler refuses; then the build of the source says why."""
        (header,) = step.inputs
        key = hashlib.sha256(f"{step.command}\n{lines}{self.target.toolchain_digest}".encode()).hexdigest()[:32]
        known = self._cache.find(key, step.output)
        if known is not None:
            return known[1].with_name(header).absolute()  # a source is compiled in another folder
        with processes.temporary_folder(BUILDING, self.cache) as folder:
            start = time.monotonic()
            (folder / header).write_text(lines, encoding="utf-8")
            self._write_ninja_file(folder, [step])
            log, code = self._run_ninja(folder, self.deadline_s)
            if code != 0:
                return None
            digest = file_digest(folder / step.output)
            report = BuildReport(seconds=time.monotonic() - start, log=log, binary_digest=digest)
            return self._cache.keep(key, folder, report, step.output).with_name(header).absolute()

    def _run_steps(self, folder: Path, headers: Path | None, include_paths: Sequence[Path]) -> tuple[str, int | None]:
        """Output and exit code of all steps: first those that a loaded compiler does, then the others by ninja."""
        end, log = time.monotonic() + self.deadline_s, ""
        steps = self.target.steps(headers, include_paths)
        for step in steps:
            if step.service is not None:
                output, code = self._services.call(step.service, folder, end - time.monotonic())
                log += f"{step.command}\n{output}" if self.verbose else output
                if code != 0:
                    return log, code
        self._write_ninja_file(folder, [step for step in steps if step.service is None])
        output, code = self._run_ninja(folder, end - time.monotonic())
        return log + output, code

    def _write_ninja_file(self, folder: Path, steps: Sequence[Step]) -> None:
        # The deadline kills ninja and its children; these limits are a second line of defence.
        limits = f"ulimit -t {int(self.deadline_s) + 10}; ulimit -c 0; ulimit -v {COMPILER_BYTES // 1024}"
        with open(folder / "build.ninja", "w", encoding="utf-8") as file:
            writer: Any = ninja.Writer(file)  # type: ignore[arg-type] - it takes any file, and says that it takes a str
            for number, step in enumerate(steps):
                command = step.command.replace("$", "$$")
                writer.rule(f"step{number}", f"{limits}; {command}")
                writer.build(step.output, f"step{number}", list(step.inputs))

    def _run_ninja(self, folder: Path, seconds: float) -> tuple[str, int | None]:
        """Output and exit code; the code is None if the time has passed."""
        program = os.path.join(ninja.BIN_DIR, "ninja")
        arguments = [program, "-C", str(folder), "-j", "1", "--verbose" if self.verbose else "--quiet"]
        with self._guard:
            if self._stopped:
                raise CancelledError
            process = self._spawn(arguments, folder)
            self._running.add(process)
        try:
            log, _ = process.communicate(timeout=seconds)
            if self._stopped:
                raise CancelledError
            if process.returncode < 0:
                processes.kill(process)  # its children may still be running
            return log, process.returncode
        except subprocess.TimeoutExpired:
            processes.kill(process)
            return process.communicate()[0], None
        finally:
            with self._guard:
                self._running.discard(process)

    def _spawn(self, arguments: list[str], folder: Path) -> subprocess.Popen[str]:
        return processes.start(
            arguments,
            variables={"TMPDIR": str(folder.absolute()), "LC_ALL": "C"},  # temporary files are removed with the folder
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )


def _product(source: Source) -> str:
    return PYTHON if source.language == "python" else LIBRARY


def _module(source: Source, folder: Path) -> Build:
    """A Python kernel, which is compiled where it is launched; here its syntax is checked."""
    start = time.monotonic()
    path = folder / PYTHON
    path.write_text(source.text, encoding="utf-8")
    try:
        compile(source.text, PYTHON, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        report = BuildReport(seconds=time.monotonic() - start, log=str(error))
        return Build(report, status=Status.BUILD_FAILED, reason=f"{line}{getattr(error, 'msg', error)}")
    return Build(BuildReport(seconds=time.monotonic() - start, binary_digest=file_digest(path)), path)


def _newest(folder: Path) -> float:
    """The time of the last change of a file in a folder or below it."""
    return max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0.0)


def _first_error(log: str) -> str:
    """The first error in the compiler's output."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next(
        (line for line in lines if "error" in line.lower()), lines[-1] if lines else "the compiler printed nothing"
    )
