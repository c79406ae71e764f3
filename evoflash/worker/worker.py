"""The worker process, in which kernels run. It may crash, hang, or lose its CUDA context; the driver then replaces it.

It is forked by a server that has this module imported (`evoflash.system.fork_server`), and serves the requests of
`evaluator.messages` on a socket until that is closed or the server ends. It announces each step before it begins, so
that the driver knows where a worker died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from evoflash.core.evaluation import Accuracy
from evoflash.core.record import Record
from evoflash.core.status import Gate, Status
from evoflash.evaluator.messages import (
    PREPARING,
    Call,
    Ceilings,
    Count,
    Counted,
    Describe,
    Described,
    Examine,
    Examined,
    MeasureCeilings,
    Prepare,
    Probe,
    Probed,
    Race,
    SelfTest,
    Verified,
    Verify,
)
from evoflash.problems import Case, searched_cases
from evoflash.system import processes
from evoflash.worker import ceilings, correctness, functions, rivals
from evoflash.worker.counting import count
from evoflash.worker.kernel import AnyKernel, load
from evoflash.worker.kernel_timer import KernelTimer
from evoflash.worker.launch import UNSUPPORTED, LaunchError
from evoflash.worker.references import Reference, References, WrongResultError
from evoflash.worker.shortage import ShortageError


class Worker:
    """Serves one driver on one device."""

    def __init__(self, connection: Connection, device: str):
        self._connection = connection
        self._device = device
        self._torch = torch
        self._poisoned = False
        if device == "cuda":
            torch.cuda.init()
        else:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._reset()
        self._handlers: dict[str, Callable[[dict[str, Any]], Record | None]] = {
            "prepare": lambda body: self._prepare(Prepare(**body)),
            "describe": lambda body: self._describe(Describe(**body)),
            "examine": lambda body: self._examine(Examine(**body)),
            "verify": lambda body: self._verify(Verify(**body)),
            "race": lambda body: self._kernel_timer.race(Race(**body)),
            "probe": lambda body: self._probe(Probe(**body)),
            "self_test": lambda body: self._kernel_timer.self_test(SelfTest(**body)),
            "count": lambda body: self._count(Count(**body)),
            "measure_ceilings": lambda body: self._measure_ceilings(MeasureCeilings(**body)),
            "call": lambda body: self._call(Call(**body)),
        }

    def _reset(self) -> None:
        """Drops references and buffers of an earlier problem."""
        self._references = References(self._device)
        self._kernel_timer = KernelTimer(self._device, self._references, self._stage)

    def serve(self) -> None:
        """Answers requests until the driver closes the socket."""
        self._send("hello", machine_facts(self._device) | {"empty_launch_us": self._kernel_timer.empty_launch_us()})
        while not self._poisoned:
            try:
                request = json.loads(self._connection.recv_bytes())
            except EOFError:
                return
            try:
                answer = self._handlers[request["op"]](request)
            except ShortageError as error:
                self._send("shortage", {"text": str(error)})
            else:
                self._send("result", answer.model_dump(mode="json") if answer else {})

    def _send(self, event: str, body: Mapping[str, Any]) -> None:
        self._connection.send_bytes(json.dumps({"event": event, "body": body, "poisoned": self._poisoned}).encode())

    def _stage(self, text: str) -> None:
        self._send("stage", {"text": text})

    def _synchronize(self) -> None:
        if self._device == "cuda":
            self._torch.cuda.synchronize()

    # Requests.

    def _prepare(self, request: Prepare) -> None:
        self._reset()
        for case in searched_cases(request.problem):
            self._reference(case)

    def _describe(self, request: Describe) -> Described:
        from evoflash.problems.function.description import ProblemError, describe

        self._stage(f"running {request.file}")
        try:
            return Described(problem=describe(request.file, request.source, request.sizes, self._device))
        except ProblemError as error:
            return Described(reason=str(error))

    def _count(self, request: Count) -> Counted:
        self._stage("counting")
        return count(request, self._references)

    def _measure_ceilings(self, request: MeasureCeilings) -> Ceilings:
        self._stage("measuring ceilings")
        return ceilings.measure(self._device, request.dtype)

    def _probe(self, request: Probe) -> Probed:
        versions: dict[str, str] = {}
        failures: dict[str, str] = {}
        for name in request.rivals:
            self._stage(f"importing {name}")
            try:
                rival = rivals.find(name, request.problem, self._device)
                rival.load()
                versions[name] = rival.version
            except Exception as error:  # packages raise what they like
                failures[name] = rivals.why(error)
        return Probed(versions=versions, failures=failures)

    def _examine(self, request: Examine) -> Examined:
        problem = request.problem
        accuracy: list[Accuracy] = []

        def examine() -> Examined:
            self._stage("loading")
            with load(request.library) as kernel:
                for case in searched_cases(problem):
                    self._stage(f"checking {case.name}")
                    accuracy.append(correctness.check(kernel, case, self._references.of(case), self._synchronize))
                timings, quick = self._kernel_timer.time(kernel, problem, request)
            return Examined(status=Status.OK, accuracy=tuple(accuracy), timings=timings, quick=quick)

        outcome = self._guarded(examine)
        if isinstance(outcome, Examined):
            return outcome
        status, gate, reason, wrong = outcome
        return Examined(status=status, gate=gate, reason=reason, accuracy=(*accuracy, *wrong))

    def _verify(self, request: Verify) -> Verified:
        accuracy: list[Accuracy] = []
        refused: list[str] = []
        kernels: dict[str, AnyKernel] = {}

        def verify() -> Verified:
            for case, library in request.cases:
                reference = self._reference(case)
                self._stage(f"checking {case.name}")
                if str(library) not in kernels:
                    kernels[str(library)] = load(library)
                kernel = kernels[str(library)]
                try:
                    accuracy.append(correctness.check(kernel, case, reference, self._synchronize))
                    if self._device == "cuda":
                        correctness.check_stream(kernel, case, reference)
                except LaunchError as error:
                    if error.code != UNSUPPORTED:
                        raise
                    refused.append(case.name)
            return Verified(status=Status.OK, accuracy=tuple(accuracy), refused=tuple(refused))

        return self._verdict(verify, accuracy, refused)

    def _call(self, request: Call) -> Verified:
        case = request.case
        accuracy: list[Accuracy] = []
        refused: list[str] = []

        def call() -> Verified:
            self._stage(f"importing {request.function}")
            function = functions.load(request.function)
            reference = self._reference(case)
            self._stage(f"checking {case.name}")
            try:
                accuracy.append(functions.check(function, case, reference, self._synchronize))
            except LaunchError as error:
                if error.code != UNSUPPORTED:
                    raise
                return Verified(status=Status.OK, reason=str(error), refused=(case.name,))
            return Verified(status=Status.OK, accuracy=tuple(accuracy))

        return self._verdict(call, accuracy, refused)

    def _verdict(self, step: Callable[[], Verified], accuracy: list[Accuracy], refused: list[str]) -> Verified:
        """The result of a step; for a failure its status, with the evidence collected so far."""
        outcome = self._guarded(step)
        if isinstance(outcome, Verified):
            return outcome
        status, gate, reason, wrong = outcome
        return Verified(status=status, gate=gate, reason=reason, accuracy=(*accuracy, *wrong), refused=tuple(refused))

    def _reference(self, case: Case) -> Reference:
        self._stage(f"{PREPARING} {case.name}")
        return self._references.of(case)

    # Failures.

    def _guarded(self, step: Callable[[], Any]) -> Any:
        """The result of a step, or (status, gate, reason, evidence) when the kernel failed."""
        try:
            answer = step()
            self._synchronize()
            return answer
        except WrongResultError as error:
            return Status.WRONG, error.gate, str(error), () if error.accuracy is None else (error.accuracy,)
        except LaunchError as error:
            return self._check_context(Status.LAUNCH_FAILED, str(error))
        except self._torch.OutOfMemoryError as error:
            return self._check_context(Status.LAUNCH_FAILED, str(error).splitlines()[0])
        except RuntimeError as error:
            if self._device != "cuda" or "CUDA" not in str(error):
                raise
            return self._check_context(Status.LAUNCH_FAILED, str(error).splitlines()[0])

    def _check_context(self, status: Status, reason: str) -> tuple[Status, Gate, str, tuple[Accuracy, ...]]:
        """Checks whether the CUDA context survived a failure: some errors are sticky and make this process unusable."""
        try:
            self._synchronize()
        except RuntimeError as error:
            self._poisoned = True
            reason = f"{reason}; the CUDA context is lost: {str(error).splitlines()[0]}"
            return Status.CRASHED, Gate.CRASHED, reason, ()
        return status, Gate.LAUNCH, reason, ()


def machine_facts(device: str) -> dict[str, Any]:
    """Versions and device properties, as reported by PyTorch."""
    facts: dict[str, Any] = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts


def _exit_with_parent(parent: int) -> None:
    """Ends this process when its parent is gone, so that a hanging kernel never outlives a killed driver."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def serve(descriptor: int, device: str, parent: int) -> None:
    """Serves a driver.

    Args:
        descriptor: of the socket.
        device: "cpu", "cuda", or "cuda:UUID" for one of several, which is then the only one that CUDA shows.
        parent: the process with which this one ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
    processes.restrain()
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    name, _, uuid = device.partition(":")
    if uuid:  # CUDA reads it when it is first asked for something
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
    Worker(Connection(descriptor), name).serve()
