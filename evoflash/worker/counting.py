"""Launches for a program that counts what this process does, such as perf."""

from __future__ import annotations

import os
import subprocess
import time

from evoflash.evaluator.messages import Count, Counted
from evoflash.problems import searched_cases
from evoflash.system import processes
from evoflash.worker.buffers import Arena
from evoflash.worker.kernel import load
from evoflash.worker.references import References

LOOK_S = 0.01  # between two looks at whether the program has ended


def count(request: Count, references: References) -> Counted:
    """Launches a library on the searched cases in turn until the command has ended, which attaches to this process."""
    problem, kernel = request.problem, load(request.library)
    arenas = [Arena(references.of(case).inputs, problem.outputs()) for case in searched_cases(problem)]
    calls = [kernel.bind(problem, each.inputs, each.outputs, each.workspace) for each in arenas]
    command = [word.replace("{pid}", str(os.getpid())) for word in request.command]
    with processes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        while program.poll() is None:
            end = time.monotonic() + LOOK_S
            while time.monotonic() < end:
                for call in calls:
                    call()
        assert program.stderr is not None
        return Counted(output=program.stderr.read())
