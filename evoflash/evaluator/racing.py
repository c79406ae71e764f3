"""Races that survive their baselines: who brings the worker down, is wrong or raises is out, and the others race."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evoflash.errors import UsageError
from evoflash.evaluator.messages import Probe, Probed, Race, Raced
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.problems import Problem

# Seconds in which a rival must be ready: imported, planned, compiled, checked. FlashAttention 4 takes about half a
# minute for a shape; what takes longer than this would hold up every search.
RIVAL_DEADLINE_S = 120.0
PROBE_DEADLINE_S = 60.0  # for one import

ALL = "all"  # who races once everyone is ready

Send = Callable[[Race, Mapping[str, float]], dict[str, Any] | WorkerDeath]


class Racing:
    """Races of one shape. A rival or baseline that has brought a worker down is out of all later ones, and so is a
    rival that was out of one for any other reason.

    Attributes:
        out: the reasons of those that are out, by name.
        preparation_s: the seconds that rivals took before they could be timed in the last race, by name.
    """

    def __init__(self) -> None:
        self.out: dict[str, str] = {}
        self.preparation_s: dict[str, float] = {}
        self._fallen: list[str] = []  # PyTorch's own baselines, for which a machine may have too little memory

    def run(self, send: Send, request: Race) -> Raced | WorkerDeath:
        """The race, or the death of a worker that a kernel has caused, or nobody who is known.

        Where it is not known who brought the worker down, the race is tried again without any rival.

        Args:
            send: sends a request to a worker, with the deadlines of stages that have their own, and returns its answer.
        """
        while True:
            rivals = tuple(name for name in request.rivals if name not in self.out)
            answer = self._sent(send, request, rivals)
            if isinstance(answer, Raced):
                return self._told(answer, request, rivals)
            name = answer.stage.removeprefix("racing ")
            if name == ALL and rivals:
                alone = self._sent(send, request, ())
                if isinstance(alone, WorkerDeath):
                    return alone
                words = f"the race died with the rivals, and not without: {answer.reason}"
                self.out |= dict.fromkeys(rivals, words)
                return self._told(alone, request, ())
            if name in (answer.stage, ALL, *request.libraries, *self._fallen):
                return answer
            self.out[name] = answer.reason
            self._fallen += [name] if name not in rivals else []

    def _sent(self, send: Send, request: Race, rivals: tuple[str, ...]) -> Raced | WorkerDeath:
        deadlines = {f"racing {name}": RIVAL_DEADLINE_S for name in rivals}
        answer = send(request.model_copy(update={"rivals": rivals, "without": tuple(self._fallen)}), deadlines)
        return answer if isinstance(answer, WorkerDeath) else Raced.model_validate(answer)

    def _told(self, raced: Raced, request: Race, rivals: tuple[str, ...]) -> Raced:
        """The race, with the reasons of all that are out."""
        self.out |= {name: raced.failures[name] for name in rivals if name in raced.failures}
        self.preparation_s = raced.preparation_s
        known = {name: self.out[name] for name in (*request.rivals, *self._fallen) if name in self.out}
        return raced.model_copy(update={"failures": {**raced.failures, **known}})


def require_functions(raced: Raced) -> None:
    """Refuses a race in which a function of the user's could not be loaded, which is a mistake in its name or file.

    Raises:
        UsageError: for the first of them.
    """
    for name, reason in raced.failures.items():
        if ":" in name and reason.startswith(f"{name} "):
            raise UsageError(f"--baseline {reason}; write module:function, importable from the working directory")


def probe(sandbox: Sandbox, problem: Problem, rivals: Sequence[str]) -> Probed:
    """Imports rivals in a worker, one after another; who brings it down or hangs is a failure."""
    fallen: dict[str, str] = {}
    while True:
        waiting = tuple(name for name in rivals if name not in fallen)
        answer = sandbox.call(Probe(problem=problem, rivals=waiting), PROBE_DEADLINE_S, each_stage=True)
        if not isinstance(answer, WorkerDeath):
            probed = Probed.model_validate(answer)
            return probed.model_copy(update={"failures": {**probed.failures, **fallen}})
        name = answer.stage.removeprefix("importing ")
        if name not in waiting:
            return Probed(failures=dict.fromkeys(rivals, answer.reason))
        fallen[name] = answer.reason
