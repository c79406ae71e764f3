"""Kernels for CUDA on a device that is emulated on the host."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch

TIMEOUT_S = 280  # of the tasks of one call


class Device:
    """A process that runs `kernel.main`, and ends with this one; it has imported torch and compiled its driver once."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.emulation.kernel"]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def run(self, tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        patience = threading.Timer(TIMEOUT_S, self._process.kill)
        patience.start()
        told = []
        try:
            for task in tasks:
                self._process.stdin.write(f"{json.dumps(task)}\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
                assert line, f"{task} ended the emulation: {self._ended()}"
                told.append(json.loads(line))
        except BrokenPipeError:
            raise AssertionError(f"the emulation has ended: {self._ended()}") from None
        finally:
            patience.cancel()
        return told

    def _ended(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        return f"code {code}\n{self._errors.read()}"

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None


_devices: list[Device] = []


def emulate(tasks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks of `kernel.main`, each with what is wrong with the kernel's output; empty if nothing is."""
    if torch.version.cuda is not None:
        pytest.skip("PyTorch built for CUDA loads the driver, in whose place the emulated one would stand")
    if not _devices or not _devices[0].is_running:
        _devices[:] = [Device()]
    return _devices[0].run(tasks)
