"""A toolchain and an evaluator that make results up from the source alone: a search without a compiler or a worker."""

import hashlib
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.finals import Final, Finals
from evoflash.core.status import Status
from evoflash.errors import WorkerError
from evoflash.evaluator import Evaluator
from evoflash.problems import Case
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.run.plan import Plan
from evoflash.search import Search
from evoflash.store import RunStore
from evoflash.targets import Target
from tests.helpers import Quiet, failed, right

UNMEASURABLE, HOPELESS = 777, 666
COMMENT = "/* Nothing but a comment. */\n"


class MadeUpBuild(Build):
    """A library that is nowhere, and as good as new."""

    is_intact = True


class MadeUpToolchain:
    """Builds nothing; takes a while that differs from source to source."""

    def __init__(self, *, jitter: bool = False, comments_count: bool = True):
        self.sources: list[str] = []
        self.texts: dict[Path, str] = {}
        self.jitter = jitter
        self.comments_count = comments_count
        self.stopped = False

    def build(self, source: Source) -> Build:
        if self.jitter:
            time.sleep(random.random() * 0.004)
        self.sources.append(source.text)
        code = source.text if self.comments_count else source.text.replace(COMMENT, "")
        digest = hashlib.sha256(f"machine code of {code}".encode()).hexdigest()
        library = Path(f"/nowhere/{digest}.so")
        self.texts[library] = code
        registers = int(digest[:2], 16)
        report = BuildReport(
            seconds=0.1, registers=registers, spill_bytes=8 * (registers < 20), binary_digest=digest
        )  # a few are over budget
        return MadeUpBuild(report, library, max_spill_bytes=0)

    def restored(self, build: Build, source: Source) -> Build:
        return build

    def stop(self) -> None:
        self.stopped = True


class MadeUpEvaluator:
    """The verdict is a function of the source and the length; about one in five fails.

    A length of `UNMEASURABLE` is too much for this device, and of `HOPELESS` no kernel is right.
    """

    def __init__(self, problem, toolchain: MadeUpToolchain):
        self.toolchain = toolchain
        self.problem = problem
        self.examined: list[Path] = []
        self.entered: list[int] = []
        self.threads: set[int] = set()
        self.rivals_out: dict[str, str] = {}
        self.preparation_s: dict[str, float] = {}
        self.closed = False

    def start(self):
        return {"torch": "none"}

    def close(self):
        self.closed = True

    def trust(self, build: Build) -> None: ...

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True):
        if self.problem.seq_q == UNMEASURABLE:
            raise WorkerError("the baselines cannot be timed: out of memory; run `evoflash doctor`")
        return {"sdpa": 30.0}

    def examine(self, build: Build, best_us: float | None, further: Sequence[Case] = ()) -> Evaluation:
        assert build.library is not None
        if self.toolchain.jitter:
            time.sleep(random.random() * 0.002)
        self.examined.append(build.library)
        self.threads.add(threading.get_ident())
        number = int(build.library.stem[-6:], 16)
        if number % 7 == 0 or self.problem.seq_q == HOPELESS:
            return failed().model_copy(update={"build": build.report})
        return right((10 + number / 2**20) * self.problem.seq_q / 32, build=build.report)

    def passes(self, build: Build, case) -> bool:
        """Every third kernel takes every size."""
        assert build.library is not None
        return int(build.library.stem[-6:], 16) % 3 == 0

    def finals(self, finalists, rounds: int) -> Finals:
        self.entered += [each.index for each in finalists]
        verdicts = tuple(Final(index=each.index, status=Status.WRONG, reason="made to fall") for each in finalists)
        return Finals(finalists=verdicts, baselines=(), rounds=rounds)


def made_up_evaluator(toolchain: MadeUpToolchain):
    """What a search makes its evaluators with."""

    def make(plan: Plan, target: Target) -> Evaluator:
        shapes = {name: MadeUpEvaluator(each, toolchain) for name, each in plan.problems.items()}
        return Evaluator(shapes)

    return make


def made_up_search(
    plans: Sequence[Plan], target: Target, toolchain: MadeUpToolchain, store: RunStore, progress, run_ids=()
):
    scheduler = LocalScheduler(plans, [target], toolchain, made_up_evaluator(toolchain))
    return Search(plans, target, scheduler, store, progress, run_ids)


def story(search: Search):
    """What a run proposed and found, by number, as it is in the database."""
    return [
        (candidate, evaluation.status, evaluation.fitness_us)
        for candidate, evaluation in search.store.recorded(search.tasks[0].run_id)
    ]


class Interrupting(Quiet):
    """Ctrl-C after so many results."""

    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def finished(self, shape, candidate, evaluation, is_best):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
