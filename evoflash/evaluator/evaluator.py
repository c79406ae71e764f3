"""What judges the builds of a run: an evaluator for each shape, and one result made of theirs.

A run has one shape, or several that one kernel must serve. Of several, the kernel must be right on each, and its score
is the geometric mean of its times. Geometric means rank kernels as the geometric means of their ratios against any
baseline do, and no shape counts for more because it takes longer (Fleming and Wallace, "How not to lie with
statistics", CACM 1986).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.finals import Finals
from evoflash.core.statistics import geometric_mean
from evoflash.core.status import Stage, Status
from evoflash.evaluator.ranking import named, pooled
from evoflash.evaluator.shape_evaluator import Finalist, ShapeEvaluator
from evoflash.problems import Case, searched_cases


class Evaluator:
    """Examines builds on every shape of a run. The first failure is the verdict.

    The results of a run with one shape are those of its `ShapeEvaluator`. Those of several name the shapes.

    Attributes:
        shapes: the evaluator of each shape, by the shape's name; a candidate is rendered for the first.
    """

    def __init__(self, shapes: Mapping[str, ShapeEvaluator]):
        self.shapes = dict(shapes)
        # The shape with the least work goes first: there a wrong kernel is found out at the least cost.
        self._by_work = sorted(self.shapes, key=lambda name: self.shapes[name].problem.flops)
        self._best_us: dict[str, float] = {}  # of each shape, where there are several

    def start(self) -> Mapping[str, object]:
        """Brings up the worker of each shape; what is known of the machine."""
        return {name: value for shape in self._by_work for name, value in self.shapes[shape].start().items()}

    def close(self) -> None:
        """Ends the workers."""
        for each in self.shapes.values():
            each.close()

    @property
    def worker_starts(self) -> int:
        """Workers started so far, those of the finals not counted."""
        return sum(each.worker_starts for each in self.shapes.values())

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True) -> dict[str, float]:
        """The median of each baseline that runs on every shape, in microseconds; of several the geometric mean.

        Args:
            with_rivals: beside PyTorch's, those of other packages and of the user, but for those that compile.
        """
        shapes = (self.shapes[shape] for shape in self._by_work)
        first, *others = (each.baselines(rounds, with_rivals=with_rivals) for each in shapes)
        return {
            name: geometric_mean([time, *(each[name] for each in others)])
            for name, time in first.items()
            if all(name in each for each in others)
        }

    @property
    def rivals_out(self) -> dict[str, str]:
        """Rivals that `baselines` could not time on every shape, by name, with the reason."""
        where = {shape: f"{shape}: " if len(self.shapes) > 1 else "" for shape in self._by_work}
        return {
            name: f"{where[shape]}{why}"
            for shape in self._by_work
            for name, why in self.shapes[shape].rivals_out.items()
        }

    @property
    def preparation_s(self) -> dict[str, float]:
        """The seconds that rivals took before `baselines` could time them, by name, on all shapes."""
        names = dict.fromkeys(name for each in self.shapes.values() for name in each.preparation_s)
        return {name: sum(each.preparation_s.get(name, 0.0) for each in self.shapes.values()) for name in names}

    def trust(self, build: Build) -> None:
        """Takes a kernel that was right before as proof, on every shape, that the device works."""
        for each in self.shapes.values():
            each.trust(build)

    def examine(self, build: Build, best_us: float | None, further: Sequence[Case] = ()) -> Evaluation:
        """Correctness and timing on each shape until one fails.

        Args:
            best_us: the best score so far, by which a slow candidate is given up early. Of several shapes each has a
                best of its own instead.
            further: cases of the finals on which it must be right, too; of the first shape.
        """
        if len(self.shapes) == 1:
            return self.shapes[self._by_work[0]].examine(build, best_us, further)
        first = next(iter(self.shapes))
        parts: dict[str, Evaluation] = {}
        for shape in self._by_work:
            own = further if shape == first else ()
            part = parts[shape] = self.shapes[shape].examine(build, self._best_us.get(shape), own)
            if part.status is not Status.OK:
                break
            if part.fitness_us is not None and not part.quick:
                self._best_us[shape] = min(self._best_us.get(shape, part.fitness_us), part.fitness_us)
        return joined(parts)

    def passes(self, build: Build, case: Case) -> bool:
        """Whether a kernel takes a case, of the first shape, and is right there."""
        return next(iter(self.shapes.values())).passes(build, case)

    def finals(self, finalists: Sequence[Finalist], rounds: int) -> Finals:
        """A race on each shape among the finalists that have passed so far.

        Every case of the finalists is checked on the first shape. On the others it is the searched cases, since the
        same kernel serves them all.
        """
        found: dict[str, Finals] = {}
        racing = list(finalists)
        for shape, evaluator in self.shapes.items():
            if found:
                cases = searched_cases(evaluator.problem)
                racing = [replace(each, cases=[(case, each.library) for case in cases]) for each in racing]
            found[shape] = evaluator.finals(racing, rounds)
            passed = {final.index for final in found[shape].finalists if final.status is Status.OK}
            racing = [each for each in racing if each.index in passed]
        plain = next(iter(self.shapes.values())).problem.plain_baseline
        return pooled(found, {each.index: each.cost for each in finalists}, plain)


def joined(parts: Mapping[str, Evaluation]) -> Evaluation:
    """One evaluation of those on several shapes, by the shapes' names, of which at most the last has failed."""
    shape, last = list(parts.items())[-1]
    timings = [each.model_copy(update={"shape": name}) for name, part in parts.items() for each in part.timings]
    if last.status is Status.OK:
        for regime in ("cold", "warm"):
            own = [each for each in timings if each.regime == regime]
            if len(own) == len(parts):
                timings.insert(0, _mean_timing(regime, own))
    return last.model_copy(
        update={
            "reason": f"{shape}: {last.reason}" if last.reason else "",
            "stage": Stage.QUICK
            if last.status is Status.OK and any(part.quick for part in parts.values())
            else last.stage,
            "accuracy": tuple(named(name, each) for name, part in parts.items() for each in part.accuracy),
            "timings": tuple(timings),
            "quick": any(part.quick for part in parts.values()),
            "seconds": sum(part.seconds for part in parts.values()),
        }
    )


def _mean_timing(regime: str, timings: Sequence[Timing]) -> Timing:
    """The score's timing; it has no samples, since those of different shapes were not taken together."""
    return Timing(
        regime=regime,
        p50_us=geometric_mean([each.p50_us for each in timings]),
        p90_us=geometric_mean([each.p90_us for each in timings]),
        p99_us=geometric_mean([each.p99_us for each in timings]),
        launches=sum(each.launches for each in timings),
    )
