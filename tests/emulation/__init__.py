"""Kernels for CUDA on a device that is emulated on the host."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch


def emulate(tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks of `kernel.main`, each with what is wrong with the kernel's output; empty if nothing is."""
    if torch.version.cuda is not None:
        pytest.skip("PyTorch built for CUDA loads the driver, in whose place the emulated one would stand")
    command = [sys.executable, "-m", "tests.emulation.kernel"]
    lines = "".join(f"{json.dumps(task)}\n" for task in tasks)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=280)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(tasks), done.stderr
    return told
