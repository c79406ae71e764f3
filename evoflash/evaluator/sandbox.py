"""A worker process under a deadline: killed when it hangs, replaced when it died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO, Any

from evoflash.errors import WorkerError
from evoflash.evaluation import Record, Status

START_DEADLINE_S = 180.0  # importing torch from a cold disk and opening a CUDA context can take a minute


@dataclass(frozen=True)
class Death:
    """The worker died or was killed while it served a request; `stage` is what it had said that it does."""

    status: Status
    reason: str
    stage: str = ""


class Sandbox:
    """Requests to a worker for one device, "cuda" or "cpu".

    The worker starts with the first request, and again with the next one after it died.

    `greeting`, if given, is a request that every new worker serves before anything else, under the start's deadline.
    """

    def __init__(self, device: str, greeting: Record | None = None):
        self._device = device
        self._greeting = greeting
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._errors: IO[bytes] | None = None
        self.machine: dict[str, Any] = {}
        self.starts = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts the worker unless it runs.

        Raises:
            WorkerError: when it does not come up.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evoflash.evaluator.worker", str(theirs.fileno()), self._device],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self.starts += 1
        hello = self._receive(START_DEADLINE_S, "hello")
        if isinstance(hello, Death):
            raise WorkerError(f"the evaluation worker does not start: {hello.reason}; run `evoflash doctor`")
        self.machine = hello
        if self._greeting is not None:
            prepared = self._exchange(self._greeting, START_DEADLINE_S)
            if isinstance(prepared, Death):
                raise WorkerError(f"the evaluation worker cannot prepare the problem: {prepared.reason}")

    def call(self, request: Record, deadline_s: float, *, each_stage: bool = False) -> dict[str, Any] | Death:
        """The worker's answer, or how it died; a dead worker is replaced by the next call.

        The deadline is for the whole request, or for each stage that the worker announces.
        """
        self.start()
        return self._exchange(request, deadline_s, each_stage)

    def close(self) -> None:
        """Ends the worker and everything in its process group."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._errors is not None:
            self._errors.close()
        self._process = self._connection = self._errors = None

    def _exchange(self, request: Record, deadline_s: float, each_stage: bool = False) -> dict[str, Any] | Death:
        assert self._connection is not None
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile; the answer says how
            self._connection.send_bytes(request.model_dump_json().encode())
        return self._receive(deadline_s, "result", each_stage)

    def _receive(self, deadline_s: float, wanted: str, each_stage: bool = False) -> dict[str, Any] | Death:
        """The body of the wanted event; the stages on the way there tell where the worker was."""
        assert self._connection is not None
        end = time.monotonic() + deadline_s
        stage = "starting"
        while True:
            try:
                if not self._connection.poll(max(0.0, end - time.monotonic())):
                    self.close()
                    return Death(Status.HUNG, f"no answer within {deadline_s:g} s while {stage}", stage)
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, ConnectionError):
                return self._died(stage)
            if message["event"] == wanted:
                if message["poisoned"]:
                    self.close()
                return message["body"]
            stage = message["body"]["text"]
            if each_stage:
                end = time.monotonic() + deadline_s

    def _died(self, stage: str) -> Death:
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode(errors="replace").strip().splitlines()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.close()
        last = f": {lines[-1]}" if lines else ""
        return Death(Status.CRASHED, f"{how} while {stage}{last}", stage)
