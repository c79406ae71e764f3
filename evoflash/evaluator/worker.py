"""The child process in which kernels run: it may crash, hang, or lose its CUDA context, and is then replaced.

`python -m evoflash.evaluator.worker FD DEVICE PARENT` serves the requests of `messages` on the socket FD until it is
closed or the process PARENT is gone. Before each step it says what it is about to do, so that the
driver can tell where it died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from evoflash import processes
from evoflash.evaluation import Accuracy, Record, Status, Timing
from evoflash.evaluator import correctness, timing
from evoflash.evaluator.kernel import UNSUPPORTED, Kernel, LaunchError
from evoflash.evaluator.messages import (
    Examine,
    Examined,
    Prepare,
    Race,
    Raced,
    Verified,
    Verify,
    case_from_dict,
    problem_from_dict,
)
from evoflash.problems import BASE_SEEDS, Case, Problem

WARM_SETS = 3  # input sets that a warm timing rotates over; one for each base seed, so each output can be judged
COLD_SETS_LIMIT = 64


class Worker:
    """Serves one driver on one device."""

    def __init__(self, connection: Connection, device: str):
        import torch

        self._connection = connection
        self._device = device
        self._torch = torch
        self._poisoned = False
        if device == "cuda":
            torch.cuda.init()
        else:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._clock = timing.clock(device)
        self._oracles = correctness.Oracles(device)
        self._cold_sets: list[Any] = []  # of the problem that was prepared
        self._handlers: dict[str, Callable[[dict[str, Any]], Record | None]] = {
            "prepare": lambda body: self._prepare(Prepare(**body)),
            "examine": lambda body: self._examine(Examine(**body)),
            "verify": lambda body: self._verify(Verify(**body)),
            "race": lambda body: self._race(Race(**body)),
        }

    def serve(self) -> None:
        """Answers requests until the driver closes the socket."""
        self._send("hello", machine_facts(self._device))
        while not self._poisoned:
            try:
                request = json.loads(self._connection.recv_bytes())
            except EOFError:
                return
            answer = self._handlers[request["op"]](request)
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
        problem = problem_from_dict(request.problem)
        self._cold_sets = []
        self._oracles = correctness.Oracles(self._device)  # what an earlier problem left takes memory
        for case in searched_cases(problem):
            self._oracles.of(case)

    def _examine(self, request: Examine) -> Examined:
        problem = problem_from_dict(request.problem)
        accuracy: list[Accuracy] = []

        def examine() -> Examined:
            self._stage("loading")
            with Kernel(request.library) as kernel:
                for case in searched_cases(problem):
                    self._stage(f"checking {case.name}")
                    accuracy.append(correctness.check(kernel, case, self._oracles.of(case), self._synchronize))
                timings, quick = self._time(kernel, problem, request)
            return Examined(status=Status.OK, accuracy=tuple(accuracy), timings=timings, quick=quick)

        outcome = self._guarded(examine)
        if isinstance(outcome, Examined):
            return outcome
        status, reason, wrong = outcome
        return Examined(status=status, reason=reason, accuracy=(*accuracy, *wrong))

    def _verify(self, request: Verify) -> Verified:
        accuracy: list[Accuracy] = []
        refused: list[str] = []
        kernels: dict[str, Kernel] = {}

        def verify() -> Verified:
            for data, library in request.cases:
                case = case_from_dict(data)
                self._stage(f"checking {case.name}")
                if str(library) not in kernels:
                    kernels[str(library)] = Kernel(library)
                try:
                    accuracy.append(
                        correctness.check(kernels[str(library)], case, self._oracles.of(case), self._synchronize)
                    )
                except LaunchError as error:
                    if error.code != UNSUPPORTED:
                        raise
                    refused.append(case.name)
            return Verified(status=Status.OK, accuracy=tuple(accuracy), refused=tuple(refused))

        outcome = self._guarded(verify)
        if isinstance(outcome, Verified):
            return outcome
        status, reason, wrong = outcome
        return Verified(status=status, reason=reason, accuracy=(*accuracy, *wrong), refused=tuple(refused))

    def _race(self, request: Race) -> Raced:
        problem = problem_from_dict(request.problem)
        sets = self._input_sets(problem, WARM_SETS)
        contestants: dict[str, timing.Ready] = {}
        failures: dict[str, str] = {}
        for name, baseline in problem.baselines(self._device).items():
            if name in request.without:
                continue
            self._stage(f"racing {name}")
            calls = [lambda inputs=inputs, run=baseline: run(*inputs) for inputs in sets]
            try:
                contestants[name] = timing.ready(self._clock, calls)
            except RuntimeError as error:  # a backend that does not take this dtype or shape, or too little memory
                failures[name] = str(error).splitlines()[0]
        kernels = {name: Kernel(library) for name, library in request.libraries.items()}
        for name, kernel in kernels.items():
            self._stage(f"racing {name}")
            contestants[name] = timing.ready(self._clock, self._calls(kernel, problem, sets))
        self._stage("racing all")
        samples = timing.interleave(
            self._clock,
            contestants,
            request.rounds,
            request.seed,
            warmup=request.warmup,
            budget_s=request.budget_s,
        )
        cold = {}
        for name, kernel in kernels.items() if self._device == "cuda" else ():
            self._stage(f"racing {name}")
            cold[name] = self._cold(kernel, problem, 20)
        entries = tuple(timing.contestant(name, values) for name, values in samples.items())
        return Raced(contestants=entries, failures=failures, cold=cold)

    # Steps.

    def _time(self, kernel: Kernel, problem: Problem, request: Examine) -> tuple[tuple[Timing, ...], bool]:
        self._stage("timing")
        sets = self._input_sets(problem, WARM_SETS)
        outputs = [correctness.Output(problem.output_shape(), inputs[0]) for inputs in sets]
        calls = [kernel.bind(problem, inputs, out.tensor) for inputs, out in zip(sets, outputs, strict=True)]
        warm, quick = timing.measure(
            self._clock,
            calls,
            samples=request.samples,
            quick_samples=request.quick_samples,
            best_us=request.best_us,
        )
        self._synchronize()
        for case, inputs, out in zip(searched_cases(problem), sets, outputs, strict=True):
            name = f"{case.name}, after timing"
            if out.written_outside():
                raise correctness.WrongError(f"{name}: it wrote outside its output")
            correctness.require_untouched(self._oracles.of(case).inputs, inputs, name)
            correctness.judge(out.tensor, self._oracles.of(case), name)
        if quick or self._device != "cuda":
            return (warm,), quick
        return (warm, self._cold(kernel, problem, max(5, request.samples // 10))), quick

    def _calls(self, kernel: Kernel, problem: Problem, sets: Sequence[Any]) -> list[timing.Call]:
        out = [self._torch.empty(problem.output_shape(), dtype=each[0].dtype, device=each[0].device) for each in sets]
        return [kernel.bind(problem, inputs, each) for inputs, each in zip(sets, out, strict=True)]

    def _cold(self, kernel: Kernel, problem: Problem, samples: int) -> Timing:
        """Input sets rotated over twice the last-level cache, so that each launch finds its inputs in device memory."""
        cache = self._torch.cuda.get_device_properties(0).L2_cache_size
        count = min(COLD_SETS_LIMIT, max(2, -(-2 * cache // problem.min_bytes)))
        if not self._cold_sets:  # kept for the next kernel: making them takes longer than timing it
            self._cold_sets = self._input_sets(problem, count)
        calls = self._calls(kernel, problem, self._cold_sets)
        cold, _ = timing.measure(self._clock, calls, samples=samples, quick_samples=3, best_us=None, regime="cold")
        return cold

    def _input_sets(self, problem: Problem, count: int) -> list[Any]:
        """Input tensors at addresses of their own; the first ones are those of the searched cases."""
        own = [self._oracles.of(case).inputs for case in searched_cases(problem)]
        # Copies: a kernel that writes its inputs must not spoil the oracle for the candidates after it.
        return [tuple(correctness.fresh(tensor) for tensor in own[number % len(own)]) for number in range(count)]

    def _guarded(self, step: Callable[[], Any]) -> Any:
        """The step's answer, or (status, reason, evidence) when the kernel failed."""
        try:
            answer = step()
            self._synchronize()
            return answer
        except correctness.WrongError as error:
            return Status.WRONG, str(error), () if error.accuracy is None else (error.accuracy,)
        except LaunchError as error:
            return self._check_context(Status.LAUNCH_FAILED, str(error))
        except self._torch.OutOfMemoryError as error:
            return self._check_context(Status.LAUNCH_FAILED, str(error).splitlines()[0])
        except RuntimeError as error:
            if self._device != "cuda" or "CUDA" not in str(error):
                raise
            return self._check_context(Status.LAUNCH_FAILED, str(error).splitlines()[0])

    def _check_context(self, status: Status, reason: str) -> tuple[Status, str, tuple[Accuracy, ...]]:
        """A CUDA fault is sticky: the context is lost, and with it this process."""
        try:
            self._synchronize()
        except RuntimeError as error:
            self._poisoned = True
            return Status.CRASHED, f"{reason}; the CUDA context is lost: {str(error).splitlines()[0]}", ()
        return status, reason, ()


def searched_cases(problem: Problem) -> list[Case]:
    """The checks of the searched shape itself."""
    return [Case(name=f"seed {seed}", problem=problem, seed=seed) for seed in BASE_SEEDS]


def machine_facts(device: str) -> dict[str, Any]:
    """Versions and device as PyTorch sees them."""
    import torch

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
    """A kernel that never returns must not outlive a driver that was killed, nor the reaper that should end it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Entry of the child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    processes.restrain()
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_exit_with_parent, args=(int(sys.argv[3]),), daemon=True).start()
    Worker(connection, sys.argv[2]).serve()


if __name__ == "__main__":
    main()
