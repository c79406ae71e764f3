"""One kernel for several shapes: it must be right on each, and its score is the geometric mean of its times.

Geometric means rank kernels as the geometric means of their ratios against any baseline do, and no shape counts for
more because it takes longer (Fleming and Wallace, "How not to lie with statistics", CACM 1986).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evoflash.codegen.template import Template
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.archive import Member
from evoflash.core.evaluation import Accuracy, Evaluation, Timing
from evoflash.core.finals import Contestant, Final, Finals, contestant
from evoflash.core.statistics import paired_ratio
from evoflash.core.status import Stage, Status
from evoflash.evaluator import Evaluator, Finalist
from evoflash.evaluator.ranking import PLAIN_BASELINE, Cost, settled
from evoflash.problems import Problem, searched_cases
from evoflash.run.contest import Contest, cost_of
from evoflash.run.plan import Plan
from evoflash.targets import Target

Evaluators = Mapping[str, Evaluator]  # by the name of the shape


def make_evaluators(plan: Plan, target: Target) -> Evaluators:
    """An evaluator for each shape of a plan, the least work first: there a wrong kernel costs the least time."""
    effort, shapes = plan.effort, sorted(plan.problems.items(), key=lambda pair: pair[1].flops)
    return {
        name: Evaluator(
            problem,
            target,
            limits=plan.limits,
            samples=effort.samples,
            quick_samples=effort.quick_samples,
            deadline_s=plan.evaluate_deadline_s,
        )
        for name, problem in shapes
    }


class JointEvaluator:
    """Examines a build on several shapes, the one with the least work first; the first failure is the verdict."""

    def __init__(self, evaluators: Mapping[str, Evaluator]):
        self._evaluators = evaluators
        self._best_us: dict[str, float] = {}

    def start(self) -> Mapping[str, object]:
        """Brings a worker up for each shape."""
        return {name: value for each in self._evaluators.values() for name, value in each.start().items()}

    def close(self) -> None:
        """Ends the workers."""
        for each in self._evaluators.values():
            each.close()

    def baselines(self) -> dict[str, float]:
        """The geometric mean of each baseline that runs on every shape; microseconds."""
        times = [each.baselines() for each in self._evaluators.values()]
        return {name: _mean([each[name] for each in times]) for name in times[0] if all(name in each for each in times)}

    def screen(self, build: Build) -> Evaluation | None:
        """As for one shape: the gates that need no device know of none."""
        return next(iter(self._evaluators.values())).screen(build)

    def trust(self, build: Build) -> None:
        """A witness on every shape."""
        for each in self._evaluators.values():
            each.trust(build)

    def examine(self, build: Build, best_us: float | None) -> Evaluation:
        """The joint verdict. On each shape a kernel is given up when it is far behind the best there."""
        parts: dict[str, Evaluation] = {}
        for shape, evaluator in self._evaluators.items():
            part = parts[shape] = evaluator.examine(build, self._best_us.get(shape))
            if part.status is not Status.OK:
                break
            if part.fitness_us is not None and not part.quick:
                self._best_us[shape] = min(self._best_us.get(shape, part.fitness_us), part.fitness_us)
        return joined(parts)


def joint(evaluators: Evaluators) -> Evaluator | JointEvaluator:
    """What examines builds on all shapes."""
    first, *others = evaluators.values()
    return JointEvaluator(evaluators) if others else first


class JointContest:
    """Finals on several shapes: every claimed case once, then the searched cases and a race on each shape."""

    def __init__(
        self,
        problems: Mapping[str, Problem],
        evaluators: Mapping[str, Evaluator],
        first: Contest,
        target: Target,
        templates: Mapping[str, Template],
        toolchain: Toolchain,
    ):
        self._problems = problems
        self._evaluators = evaluators
        self._first = first
        self._target = target
        self._templates = templates
        self._toolchain = toolchain

    def hold(self, members: Sequence[Member], rounds: int) -> Finals:
        """The finals of these members; who falls on one shape is out."""
        shapes = list(self._problems)
        held = {shapes[0]: self._first.hold(members, rounds)}
        costs: dict[int, Cost] = {}
        for shape in shapes[1:]:
            passed = {final.index for each in held.values() for final in each.finalists if final.status is Status.OK}
            passed -= {final.index for each in held.values() for final in each.finalists if final.status != Status.OK}
            entrants = [self._finalist(each, shape) for each in members if each.candidate.index in passed]
            costs |= {each.index: each.cost for each in entrants}
            held[shape] = self._evaluators[shape].finals(entrants, rounds)
        return pooled(held, costs)

    def _finalist(self, member: Member, shape: str) -> Finalist:
        """The kernel that was searched, whatever the shape: rendered for the first, and in the cache by now."""
        template, first = self._templates[member.candidate.family], next(iter(self._problems.values()))
        build = self._toolchain.build(template.render(member.candidate.genome, first, self._target.facts))
        assert build.library is not None, "it passed the finals of the first shape"
        cases = [(case, build.library) for case in searched_cases(self._problems[shape])]
        return Finalist(member.candidate.index, build.library, cases, cost_of(build))


def joined(parts: Mapping[str, Evaluation]) -> Evaluation:
    """One evaluation of those on each shape, of which at most the last has failed."""
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
            "stage": Stage.QUICK if any(part.quick for part in parts.values()) else last.stage,
            "accuracy": tuple(_named(name, each) for name, part in parts.items() for each in part.accuracy),
            "timings": tuple(timings),
            "quick": any(part.quick for part in parts.values()),
            "seconds": sum(part.seconds for part in parts.values()),
        }
    )


def pooled(held: Mapping[str, Finals], costs: Mapping[int, Cost]) -> Finals:
    """The finals on all shapes as one: a sample is the geometric mean of those of its round on each shape.

    Args:
        costs: what a finalist takes, as for `podium`; of those that no mean tells apart the simplest wins here, too.
    """
    indices = [final.index for final in next(iter(held.values())).finalists]
    by_index = {index: [_final(each, index) for each in held.values()] for index in indices}
    names = [baseline.name for baseline in next(iter(held.values())).baselines]
    failures = {name: f"{shape}: {why}" for shape, each in held.items() for name, why in each.baseline_failures.items()}
    baselines = []
    for name in names:
        own = [next((each for each in finals.baselines if each.name == name), None) for finals in held.values()]
        if all(own):
            baselines.append(_mean_contestant(name, [each for each in own if each is not None]))
    baselines.sort(key=lambda each: each.p50_us)
    finalists = [_pooled_final(dict(zip(held, finals, strict=True)), baselines) for finals in by_index.values()]
    finalists.sort(key=lambda each: each.time.p50_us if each.time else float("inf"))
    return Finals(
        finalists=tuple(settled(finalists, costs)),
        baselines=tuple(baselines),
        baselines_by_shape=tuple(
            each.model_copy(update={"shape": shape}) for shape, finals in held.items() for each in finals.baselines
        ),
        baseline_failures=failures,
        rounds=min(finals.rounds for finals in held.values()),
        conditions=next(iter(held.values())).conditions,
        sanitized={f"{shape}, {name}": words for shape, each in held.items() for name, words in each.sanitized.items()},
    )


def _pooled_final(finals: Mapping[str, Final | None], baselines: Sequence[Contestant]) -> Final:
    """One finalist; None stands for a shape that it did not get to."""
    known = {shape: each for shape, each in finals.items() if each is not None}
    first = next(iter(known.values()))
    fallen = next(((shape, each) for shape, each in known.items() if each.status is not Status.OK), None)
    times = {shape: each.time for shape, each in known.items() if each.time is not None}
    by_shape = tuple(time.model_copy(update={"shape": shape}) for shape, time in times.items())
    time = _mean_contestant(by_shape[0].name, by_shape) if fallen is None and len(by_shape) == len(finals) else None
    ratios = {each.name: paired_ratio(each.samples, time.samples) for each in baselines} if time else {}
    best = baselines[0].name if baselines else None
    return first.model_copy(
        update={
            "status": fallen[1].status if fallen else Status.OK,
            "reason": f"{fallen[0]}: {fallen[1].reason}" if fallen else "",
            "cases": sum(each.cases for each in known.values()),
            "accuracy": tuple(_named(name, each) for name, final in known.items() for each in final.accuracy),
            "time": time,
            "cold": None,
            "ratios": ratios,
            "vs_best": ratios.get(best) if best else None,
            "best_baseline": best,
            "vs_math": ratios.get(PLAIN_BASELINE),
            "by_shape": by_shape,
        }
    )


def _final(finals: Finals, index: int) -> Final | None:
    return next((each for each in finals.finalists if each.index == index), None)


def _named(shape: str, accuracy: Accuracy) -> Accuracy:
    return accuracy.model_copy(update={"case": f"{shape}: {accuracy.case}"})


def _mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _mean_timing(regime: str, timings: Sequence[Timing]) -> Timing:
    """The score's timing; it has no samples, since those of different shapes were not taken together."""
    return Timing(
        regime=regime,
        p50_us=_mean([each.p50_us for each in timings]),
        p90_us=_mean([each.p90_us for each in timings]),
        p99_us=_mean([each.p99_us for each in timings]),
        launches=sum(each.launches for each in timings),
    )


def _mean_contestant(name: str, contestants: Sequence[Contestant]) -> Contestant:
    rounds = min(len(each.samples) for each in contestants)
    return contestant(
        name, [_mean(values) for values in zip(*(each.samples[:rounds] for each in contestants), strict=True)]
    )
