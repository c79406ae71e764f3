"""Sanitizers, which find errors that do not show in the output.

CPU kernels are rebuilt with AddressSanitizer and UndefinedBehaviorSanitizer. CUDA kernels run under compute-sanitizer's
memcheck, racecheck, initcheck and synccheck. Each tool runs `worker.sanitized_launch` in a separate process.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.record import Record
from evoflash.errors import MissingError
from evoflash.problems import Problem
from evoflash.system import processes
from evoflash.targets import Target, cuda
from evoflash.targets.base import cxx
from evoflash.targets.cpu import CpuTarget

CUDA_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
DEADLINE_S = 300.0
SMALL_FLOPS = 5e7  # limit for the additional cases: a sanitizer makes a kernel up to a hundred times slower
OWN_FLOPS = {"cpu": 5e9, "cuda": 3e12}  # limit for the problem itself: takes a second or two
MAX_PROBLEMS = 8
ASAN_OPTIONS = "detect_leaks=0:exitcode=86:abort_on_error=0"
UBSAN_OPTIONS = "print_stacktrace=0:halt_on_error=0"


class Finding(Record):
    """The report of a sanitizer.

    Attributes:
        clean: whether the kernel passed.
        summary: the first error, or a note of what was checked.
        warnings: warnings that do not reject the kernel.
    """

    tool: str
    clean: bool
    summary: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        warnings = f" ({len(self.warnings)} warnings: {self.warnings[0]})" if self.warnings else ""
        return f"{self.tool}: {self.summary}{warnings}"


def require(target: Target) -> None:
    """Raises MissingError when this machine has no sanitizer for a target."""
    if target.name == "cuda":
        _compute_sanitizer()
    else:
        _libasan()


def run(
    target: Target, toolchain: Toolchain, source: Source, problem: Problem, build: Build | None = None
) -> list[Finding]:
    """Runs the sanitizers of a target on a source, up to the first that finds an error.

    Args:
        toolchain: provides the cache and the deadline, also for builds with a sanitizer.
        problem: the problem that the kernel was rendered for. It is launched if `OWN_FLOPS` allows, and small cases of
            the same dtype and mask are.
        build: the build of the source, if there is one. CPU sanitizers need a build of their own.
    """
    if isinstance(target, CpuTarget):
        sanitizing = Toolchain(replace(target, sanitize=True), toolchain.cache, toolchain.deadline_s, toolchain.verbose)
        build, tools = sanitizing.build(source), ("address and undefined",)
    else:
        build, tools = build or toolchain.build(source), CUDA_TOOLS
    if build.library is None:
        return [Finding(tool=tools[0], clean=False, summary=f"the build for the sanitizer failed: {build.reason}")]
    findings: list[Finding] = []
    for tool in tools:
        findings.append(_run_tool(target, tool, build, problems_of(problem, target.name)))
        if not findings[-1].clean:
            break
    return findings


def problems_of(problem: Problem, target: str) -> list[Problem]:
    """The problem itself, since a kernel may accept no other sizes, then small cases that differ in nothing else."""
    own = [problem] if problem.flops <= OWN_FLOPS[target] else []

    def kind(each: Problem) -> dict[str, str | bool]:
        return {name: fact for name, fact in each.facts().items() if isinstance(fact, str | bool)}

    cases = dict.fromkeys(case.problem for case in problem.cases() if case.variant == "normal")
    small = [each for each in cases if each.flops <= SMALL_FLOPS and kind(each) == kind(problem) and each != problem]
    return [*own, *sorted(small, key=lambda each: -each.flops)[: MAX_PROBLEMS - len(own)]]


def _run_tool(target: Target, tool: str, build: Build, problems: Sequence[Problem]) -> Finding:
    assert build.library is not None
    with processes.temporary_folder("evoflash-sanitizer-", Path(tempfile.gettempdir())) as folder:
        listed = folder / "problems.json"
        listed.write_text(json.dumps([each.to_dict() for each in problems]), encoding="utf-8")
        launched = [sys.executable, "-P", "-m", "evoflash.worker.sanitized_launch", str(build.library.resolve())]
        command = [*launched, target.name, str(listed)]
        variables = target.variables
        if target.name == "cuda":
            checker = [_compute_sanitizer(), "--tool", tool, "--error-exitcode", "86", "--print-limit", "5"]
            command = [*checker, *command]
        else:
            variables = {"LD_PRELOAD": _libasan(), "ASAN_OPTIONS": ASAN_OPTIONS, "UBSAN_OPTIONS": UBSAN_OPTIONS}
        try:
            ended = processes.run(command, DEADLINE_S, variables=variables, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            return Finding(tool=tool, clean=False, summary=f"did not finish within {DEADLINE_S:g} s")
    return (read_cuda if target.name == "cuda" else read_cpu)(tool, ended.stdout, ended.returncode)


def read_cpu(tool: str, output: str, code: int) -> Finding:
    """Parses the output of AddressSanitizer and UndefinedBehaviorSanitizer."""
    found = re.search(r"ERROR: (AddressSanitizer: .+?)(?: on address.*)?$", output, re.MULTILINE)
    undefined = re.search(r"kernel\.cpp:\d+:\d+: (runtime error: .+)$", output, re.MULTILINE)
    access = re.search(r"^(READ|WRITE) of size \d+", output, re.MULTILINE)
    if found:
        return Finding(tool=tool, clean=False, summary=found[1] + (f", {access[0]}" if access else ""))
    if undefined:
        return Finding(tool=tool, clean=False, summary=undefined[1])
    return _launched(tool, output, code, ())


def read_cuda(tool: str, output: str, code: int) -> Finding:
    """Parses the output of compute-sanitizer."""
    lines = [line.removeprefix("=========").strip() for line in output.splitlines() if line.startswith("=========")]
    headlines = "COMPUTE-SANITIZER|.*SUMMARY" + ("" if tool == "racecheck" else "|Warning")
    complaints = [line for line in lines if line and not re.match(headlines, line)]
    hazards = re.search(r"RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) errors?, (\d+) warnings?\)", output)
    errors = re.search(r"ERROR SUMMARY: (\d+) errors?", output)
    # Warnings of racecheck count as errors: it reports a tile that is read before its asynchronous copy as a warning.
    count = int(hazards[1]) + int(hazards[2]) if hazards else int(errors[1]) if errors else 0
    warnings = tuple(line for line in lines if line.startswith("Warning"))[:5]
    if count or (code == 86 and not hazards):
        return Finding(tool=tool, clean=False, summary=complaints[0] if complaints else f"{count} errors")
    if hazards is None and errors is None:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return Finding(tool=tool, clean=False, summary=f"the tool failed (exit code {code}): {last[0]}")
    return _launched(tool, output, 0 if code == 86 else code, warnings)


def _launched(tool: str, output: str, code: int, warnings: tuple[str, ...]) -> Finding:
    """Clean only if the kernel was launched and did not fail."""
    launched = re.search(r"launched (\d+) of (\d+)", output)
    if code or launched is None:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return Finding(tool=tool, clean=False, summary=f"exit code {code}: {last[0]}", warnings=warnings)
    if launched[1] == "0":
        return Finding(
            tool=tool,
            clean=True,
            summary="not checked: the kernel accepts no case that is small enough",
            warnings=warnings,
        )
    return Finding(tool=tool, clean=True, summary=f"no errors on {launched[1]} problems", warnings=warnings)


def _compute_sanitizer() -> str:
    """The path of compute-sanitizer.

    Raises:
        MissingError: when it is not installed.
    """
    for candidate in (f"{cuda.toolkit()}/bin/compute-sanitizer", "compute-sanitizer"):
        found = shutil.which(candidate)
        if found:
            return found
    raise MissingError(
        "there is no compute-sanitizer; install the CUDA toolkit's (Debian: apt-get install cuda-sanitizer-13-0), "
        "or leave out --sanitize"
    )


def _libasan() -> str:
    """The compiler's AddressSanitizer library, which has to be preloaded.

    Raises:
        MissingError: when the compiler has none.
    """
    command = f"{cxx()} -print-file-name=libasan.so"
    found = processes.run(command.split(), 60).stdout.strip()
    if not Path(found).is_file():
        raise MissingError(f"{cxx()} has no libasan.so; install g++ with its libasan, or leave out --sanitize")
    return str(Path(found).resolve())
