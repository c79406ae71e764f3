"""Timing of kernels on a device, with a check that the timed launches computed their outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evoflash.core.evaluation import Timing
from evoflash.core.finals import contestant
from evoflash.core.reliability import SelfTested
from evoflash.core.status import Gate
from evoflash.evaluator.messages import Examine, Race, Raced, SelfTest
from evoflash.problems import Inputs, Output, Problem, searched_cases, updated
from evoflash.worker import device_monitor, race, rivals, timing
from evoflash.worker.buffers import Arena, output_stride
from evoflash.worker.clock import Call, make_clock
from evoflash.worker.correctness import check_timed_launches, clone_with_strides
from evoflash.worker.kernel import AnyKernel, load
from evoflash.worker.other_processes import other_processes
from evoflash.worker.references import References, WrongResultError
from evoflash.worker.self_test import self_test
from evoflash.worker.updates import Repetition, Updates

if TYPE_CHECKING:
    import torch

WARM_SETS = 3  # input sets that a warm timing rotates over: one per base seed, so that each output can be checked
COLD_SETS_LIMIT = 64
COLD_SAMPLES = 20


@dataclass(frozen=True)
class _Lineup:
    """The baselines and rivals of a race.

    Attributes:
        contestants: those that are ready.
        failures: why the others are not.
        versions, preparation_s: of rivals, as in `Raced`.
    """

    contestants: dict[str, race.PreparedCalls] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    preparation_s: dict[str, float] = field(default_factory=dict)


class KernelTimer:
    """Times kernels on one device.

    Args:
        references: the references of the worker's cases.
        announce: called with the name of each stage before it begins, so that the driver knows where a worker died.
    """

    def __init__(self, device: str, references: References, announce: Callable[[str], None]):
        self._device = device
        self._references = references
        self._announce = announce
        self._clock = make_clock(device)
        self._monitor = device_monitor.monitor(device)
        self._others = other_processes(device)
        self._cold_sets: list[Inputs] = []
        self._repetitions: tuple[Problem, Repetition] | None = None

    def time(self, kernel: AnyKernel, problem: Problem, request: Examine) -> tuple[tuple[Timing, ...], bool]:
        """Times a kernel; returns its timings, and whether timing stopped early.

        Raises:
            WrongResultError: when the timed launches did not compute their output.
        """
        self._announce("timing")
        repetition = self._repetition(problem)
        known = self._known_inputs(problem, self._sets(repetition))
        arenas = [Arena(inputs, problem.outputs()) for inputs in known]
        calls = _calls(kernel, problem, arenas)
        before = _restore([each.updates for each in arenas]) if repetition else None
        measured = timing.measure(
            self._clock,
            calls,
            samples=request.samples,
            quick_samples=request.quick_samples,
            best_us=request.best_us,
            before=before,
            repetition=repetition,
        )
        prepared = race.PreparedCalls(calls, measured.captured, measured.timing.launches, before)
        self._check_timed_launches(problem, arenas, prepared)
        if measured.quick or self._device != "cuda":
            return (measured.timing,), measured.quick
        return (measured.timing, self._cold(kernel, problem, max(5, request.samples // 10))), measured.quick

    def race(self, request: Race) -> Raced:
        """Times libraries and baselines in interleaved rounds, then checks the timed launches of each library."""
        problem = request.problem
        repetition = self._repetition(problem)
        known = self._known_inputs(problem, self._sets(repetition))
        sets = _copies(known)
        lineup = self._lineup(request, sets, repetition)
        contestants = lineup.contestants
        kernels = {name: load(library) for name, library in request.libraries.items()}
        arenas: dict[str, list[Arena]] = {}
        for name, kernel in kernels.items():
            self._announce(f"racing {name}")
            arenas[name] = [
                Arena(inputs, problem.outputs(), copy=False, values=values)
                for inputs, values in zip(sets, known, strict=True)
            ]
            before = _restore([each.updates for each in arenas[name]]) if repetition else None
            contestants[name] = race.prepare(self._clock, _calls(kernel, problem, arenas[name]), before, repetition)
        self._announce("racing all")
        raced = race.interleave(
            self._clock,
            contestants,
            request.rounds,
            request.seed,
            warmup=request.warmup,
            budget_s=request.budget_s,
            spare_s=request.spare_s,
            compared=list(kernels),
            monitor=self._monitor,
            others=self._others,
            optional=[name for name in contestants if name not in kernels],
        )
        cold, wrong = {}, {}
        for name, kernel in kernels.items():
            self._announce(f"racing {name}")
            try:
                self._check_timed_launches(problem, arenas[name], contestants[name])
            except WrongResultError as error:
                wrong[name] = str(error)
            if self._device == "cuda":
                cold[name] = self._cold(kernel, problem, COLD_SAMPLES)
        return Raced(
            contestants=tuple(contestant(name, values) for name, values in raced.samples.items()),
            failures={**lineup.failures, **raced.out},
            versions=lineup.versions,
            preparation_s=lineup.preparation_s,
            cold=cold,
            wrong=wrong,
            conditions=raced.conditions,
        )

    def self_test(self, request: SelfTest) -> SelfTested:
        """Times a library, or PyTorch's SDPA, against itself."""
        problem = request.problem
        sets = _copies(self._known_inputs(problem, WARM_SETS))
        self._announce("racing it against itself")
        calls: list[Call] = [lambda inputs=inputs: problem.plain(inputs) for inputs in sets]
        again = calls
        if request.copies is not None:
            calls, again = (
                _calls(load(each), problem, [Arena(inputs, problem.outputs(), copy=False) for inputs in sets])
                for each in request.copies
            )
        return self_test(self._clock, calls, again, request.trials, request.rounds, request.seed, request.budget_s)

    def empty_launch_us(self) -> float | None:
        """The time of an empty kernel in a graph of many, the minimum of several samples; None on a CPU."""
        if self._device != "cuda":
            return None
        import torch

        captured = self._clock.capture([lambda: torch.cuda._sleep(0)], 200)
        return min(self._clock.sample(captured) for _ in range(10))

    def _check_timed_launches(self, problem: Problem, arenas: Sequence[Arena], timed: race.PreparedCalls) -> None:
        """Repeats the timed launches and checks their outputs; on a CPU there may be fewer launches than arenas."""
        cases = searched_cases(problem)
        if not self._clock.is_complete(timed.captured):
            raise WrongResultError(f"{cases[0].name}: some of the timed launches did nothing", Gate.TIMED)
        calls = max(1, timed.launches // len(arenas)) if timed.before is not None else 1
        for arena, case in list(zip(arenas, cases, strict=False))[: timed.launches]:
            check_timed_launches(
                problem,
                arena,
                self._references.of(case, calls),
                f"{case.name}, after timing",
                lambda: self._clock.sample(timed.captured, timed.before),
            )

    def _lineup(self, request: Race, sets: Sequence[Inputs], repetition: Repetition | None) -> _Lineup:
        """Prepares the baselines and the rivals."""
        lineup, problem = _Lineup(), request.problem
        baselines: Mapping[str, Any] = problem.baselines(self._device)
        for name, baseline in baselines.items():
            if name in request.without:
                continue
            self._announce(f"racing {name}")
            calls = [lambda inputs=inputs, run=baseline: run(*inputs) for inputs in sets]
            before = self._restore_sets(problem, sets) if repetition else None
            try:
                lineup.contestants[name] = race.prepare(self._clock, calls, before, repetition)
            except RuntimeError as error:  # a backend that does not support this dtype or shape, or too little memory
                lineup.failures[name] = str(error).splitlines()[0]
                self._recover()
        for name in request.rivals:
            self._announce(f"racing {name}")
            start_s = time.monotonic()
            try:
                rival = rivals.find(name, problem, self._device)
                lineup.contestants[name] = rivals.prepare(
                    rival, problem, sets, self._references, self._clock, repetition
                )
                lineup.versions[name] = rival.version
            except Exception as error:  # packages raise what they like
                lineup.failures[name] = rivals.why(error)
            lineup.preparation_s[name] = time.monotonic() - start_s
            if name in lineup.failures:
                self._recover()
        return lineup

    def _recover(self) -> None:
        """Gives the memory of what has failed back to the device, before the next baseline needs it.

        Raises:
            RuntimeError: when the failure has left the CUDA context unusable; this worker must end.
        """
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def _cold(self, kernel: AnyKernel, problem: Problem, samples: int) -> Timing:
        """Times launches that rotate over input sets of twice the L2 cache, so that inputs come from device memory."""
        import torch

        cache = torch.cuda.get_device_properties(0).L2_cache_size
        count = min(COLD_SETS_LIMIT, max(2, -(-2 * cache // problem.min_bytes)))
        if not self._cold_sets:  # kept for the next kernel, since generating them takes longer than the timing
            self._cold_sets = _copies(self._known_inputs(problem, count))
        repetition = self._repetition(problem)
        calls = []
        for inputs in self._cold_sets:
            own = tuple(_empty(each, inputs[0]) for each in problem.outputs() if each.updates is None)
            calls.append(kernel.bind(problem, inputs, (*own, *updated(problem.outputs(), inputs))))
        return timing.measure(
            self._clock,
            calls,
            samples=samples,
            quick_samples=3,
            best_us=None,
            regime="cold",
            before=self._restore_sets(problem, self._cold_sets) if repetition else None,
            repetition=repetition,
        ).timing

    def _repetition(self, problem: Problem) -> Repetition | None:
        """How often the launches of a sample may update the same tensors; None where they update none."""
        if all(each.updates is None for each in problem.outputs()):
            return None
        if self._repetitions is None or self._repetitions[0] != problem:
            first = self._references.of(searched_cases(problem)[0]).inputs
            self._repetitions = (problem, Repetition(problem, first))
        return self._repetitions[1]

    @staticmethod
    def _sets(repetition: Repetition | None) -> int:
        """The number of input sets of a warm timing."""
        return WARM_SETS * (1 if repetition is None else repetition.copies())

    def _known_inputs(self, problem: Problem, count: int) -> list[Inputs]:
        """The inputs of the searched cases, repeated as often as needed; they must not be changed."""
        own = [self._references.of(case).inputs for case in searched_cases(problem)]
        return [own[number % len(own)] for number in range(count)]

    def _restore_sets(self, problem: Problem, sets: Sequence[Inputs]) -> Call:
        """What puts back what launches have updated in copies of the known inputs."""
        known = self._known_inputs(problem, len(sets))
        return _restore([Updates(problem.outputs(), *each) for each in zip(sets, known, strict=True)])


def _calls(kernel: AnyKernel, problem: Problem, arenas: Sequence[Arena]) -> list[Call]:
    return [kernel.bind(problem, each.inputs, each.outputs, each.workspace) for each in arenas]


def _copies(known: Sequence[Inputs]) -> list[Inputs]:
    """Since a kernel that overwrites its inputs must not spoil the references of later candidates."""
    return [tuple(clone_with_strides(tensor) for tensor in inputs) for inputs in known]


def _restore(updates: Sequence[Updates]) -> Call:
    """A function that puts all first values back."""

    def restore() -> None:
        for each in updates:
            each.restore()

    return restore


def _empty(output: Output, like: torch.Tensor) -> torch.Tensor:
    import torch

    stride, dtype = output_stride(output, like), getattr(torch, output.dtype)
    return torch.empty_strided(output.shape, stride, dtype=dtype, device=like.device)
