"""The sandbox: a worker process with a deadline and a memory limit, which is replaced when it dies."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import IO, Any

import psutil

from evoflash.core.record import Record
from evoflash.core.status import Status
from evoflash.errors import WorkerError
from evoflash.evaluator.messages import PREPARING
from evoflash.system import forked, memory, processes
from evoflash.system.forked import ForkedProcess

WORKER = "evoflash.worker.worker"  # the module, by name: nothing imports it
START_DEADLINE_S = 180.0  # importing torch from a cold disk and opening a CUDA context can take a minute
MEMORY_SHARE = 0.8  # of the machine's memory: the limit of a worker, below the point where the OOM killer acts
NO_DEADLINES: Mapping[str, float] = MappingProxyType({})
POLL_S = 0.25  # interval between checks of its memory
GROWTH_BYTES = 2 * processes.GIB  # a worker is replaced once it has grown by this much since its first response
REQUESTS = 4000  # and after this many requests, since each CUDA library leaves its module on the device


@dataclass(frozen=True)
class WorkerDeath:
    """The worker died or was killed during a request.

    Attributes:
        stage: the last stage that it announced.
        killed: whether it was killed from outside (by the OOM killer or a user), not by a fault of the kernel.
    """

    status: Status
    reason: str
    stage: str = ""
    killed: bool = False


class Sandbox:
    """Sends requests to a worker process for one device.

    The worker is started by the first request, and again by the next request after it died.

    Args:
        device: "cpu", "cuda", or "cuda:UUID" for one of several.
        first_request: a request that every new worker serves first, within the deadline of its start.
    """

    def __init__(self, device: str, first_request: Record | None = None):
        self._device = device
        self._first_request = first_request
        self._process: ForkedProcess | None = None
        self._connection: Connection | None = None
        self._errors: IO[bytes] | None = None
        self._served = 0
        self._first_bytes = 0  # memory after the first response
        self._memory_limit = int(MEMORY_SHARE * memory.total_bytes())
        self.machine: dict[str, Any] = {}
        self.starts = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts the worker unless it is running.

        Raises:
            WorkerError: when it does not start.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        try:
            self._spawn()
        except OSError as error:  # out of processes, file descriptors or disk space
            self.close()
            raise WorkerError(
                f"the evaluation worker cannot be started: {error.strerror}; free that resource, then try again"
            ) from None
        self.starts += 1
        self._served = 0
        hello = self._receive(START_DEADLINE_S, "hello")
        if isinstance(hello, WorkerDeath):
            raise WorkerError(f"the evaluation worker does not start: {hello.reason}; run `evoflash doctor`")
        self.machine = hello
        if self._first_request is not None:
            prepared = self._exchange(self._first_request, START_DEADLINE_S)
            if isinstance(prepared, WorkerDeath):
                raise _unprepared(prepared)

    def call(
        self,
        request: Record,
        deadline_s: float,
        *,
        each_stage: bool = False,
        stage_deadlines_s: Mapping[str, float] = NO_DEADLINES,
    ) -> dict[str, Any] | WorkerDeath:
        """Sends a request; returns the worker's response, or how it died. The next call replaces a dead worker.

        The deadline is for the whole request or, with `each_stage`, for each stage that the worker announces. When the
        worker was killed from outside, the request is sent once more, since that is not the kernel's fault.

        Args:
            stage_deadlines_s: with `each_stage`, the deadlines of stages that have their own.

        Raises:
            WorkerError: when the machine lacks the memory or the time for what precedes the kernel.
        """
        self.start()
        stages = stage_deadlines_s if each_stage else None
        answer = self._exchange(request, deadline_s, stages)
        if isinstance(answer, WorkerDeath) and answer.killed:
            self.start()
            answer = self._exchange(request, deadline_s, stages)
        self._replace_when_spent()
        return answer

    def _replace_when_spent(self) -> None:
        """Closes a worker that has served many requests or grown too much."""
        if self._process is None:
            return
        self._served += 1
        used = self._memory_bytes()
        if self._served == 1:  # PyTorch loads many of its libraries during the first request
            self._first_bytes = used
        elif self._served >= REQUESTS or used - self._first_bytes > GROWTH_BYTES:
            self.close()

    def _memory_bytes(self) -> int:
        """Resident memory of the worker in bytes."""
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:  # it has ended; the caller finds out how
            return 0

    def close(self) -> None:
        """Kills the worker and everything in its session; a thread may do so while another waits for an answer."""
        connection, process, errors = self._connection, self._process, self._errors
        self._process = self._connection = self._errors = None
        if connection is not None:
            connection.close()
        if process is not None:
            processes.kill(process)
            process.wait()
        if errors is not None:
            errors.close()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
            self._process = forked.start(WORKER, self._device, theirs, self._errors)
        finally:
            theirs.close()
            self._connection = Connection(ours.detach())

    def _exchange(
        self, request: Record, deadline_s: float, stages: Mapping[str, float] | None = None
    ) -> dict[str, Any] | WorkerDeath:
        assert self._connection is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died; `_receive` finds out how
                self._connection.send_bytes(request.model_dump_json().encode())
            return self._receive(deadline_s, "result", stages)
        except WorkerError:  # in place of an answer
            raise
        except BaseException:  # such as Ctrl-C: what was to be received would be taken for the next request's answer
            self.close()
            raise

    def _receive(
        self, deadline_s: float, wanted: str, stages: Mapping[str, float] | None = None
    ) -> dict[str, Any] | WorkerDeath:
        """Waits for an event and returns its body, keeping track of the announced stages.

        Args:
            stages: None for one deadline of all stages; else each has one, by its name where it is not `deadline_s`.
        """
        assert self._connection is not None
        seconds = deadline_s
        end = time.monotonic() + seconds
        stage = "starting"
        while True:
            try:
                if not self._connection.poll(min(POLL_S, max(0.0, end - time.monotonic()))):
                    if time.monotonic() >= end:
                        self.close()
                        reason = f"no response within {seconds:g} s while {stage}"
                        return _blamed(WorkerDeath(Status.HUNG, reason, stage))
                    if self._memory_bytes() > self._memory_limit:
                        self.close()
                        limit = f"{self._memory_limit / processes.GIB:.3g} GiB"
                        reason = f"used more than {limit} of memory while {stage}"
                        return _blamed(WorkerDeath(Status.CRASHED, reason, stage))
                    continue
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, ConnectionError):
                return _blamed(self._died(stage))
            if message["event"] == "shortage":
                raise WorkerError(f"{message['body']['text']}; take a smaller shape, or free memory")
            if message["event"] == wanted:
                if message["poisoned"]:
                    self.close()
                return message["body"]
            stage = message["body"]["text"]
            if stages is not None:
                seconds = stages.get(stage, deadline_s)
                end = time.monotonic() + seconds

    def _died(self, stage: str) -> WorkerDeath:
        assert self._process is not None
        assert self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read()[-4000:].decode(errors="replace").strip().splitlines()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self.close()
        last = f": {lines[-1]}" if lines else ""
        killed = code in (-signal.SIGKILL, -signal.SIGTERM)
        return WorkerDeath(Status.CRASHED, f"{how} while {stage}{last}", stage, killed)


def _blamed(death: WorkerDeath) -> WorkerDeath:
    """A death that may be the kernel's fault.

    Raises:
        WorkerError: for one before the kernel had its turn.
    """
    if death.stage.startswith(PREPARING):
        raise _unprepared(death)
    return death


def _unprepared(death: WorkerDeath) -> WorkerError:
    return WorkerError(
        f"the evaluation worker cannot prepare the problem: {death.reason}; run `evoflash doctor`, or take a smaller "
        "shape"
    )
