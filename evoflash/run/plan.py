"""Everything that decides a run; stored with it, so that it can be resumed and explained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from evoflash.codegen.template import Template, load, load_all
from evoflash.config import Effort, Settings
from evoflash.core.record import Record
from evoflash.errors import SpaceError
from evoflash.evaluator import Limits
from evoflash.evaluator.floor import floor_us
from evoflash.plugins import problem_of
from evoflash.problems import Problem
from evoflash.run.warm_start import Known
from evoflash.targets import Target
from evoflash.targets.base import usable_cores

# What a candidate takes, roughly: its build, and its examination with so many launches at the fastest conceivable pace.
BUILD_S = 2.0
EXAMINATION_S = 0.03
LAUNCHES = 600
QUEUE = 2  # candidates that wait for the device, so that it does not wait for them


class Shape(Record):
    """A problem, by its fields and `kind`, and what the person called it."""

    shape: str
    problem: dict[str, Any]

    @classmethod
    def of(cls, name: str, problem: Problem) -> Self:
        """From the object."""
        return cls(shape=name, problem={"kind": problem.kind, **problem.model_dump()})


class Plan(Record):
    """A run's settings as resolved.

    Attributes:
        problem: its fields, and `kind`; shape is what the person called it.
        beside: further shapes that the one kernel of a robust run must serve; its score is the geometric mean.
        effort: where a search has several runs, budget and minutes are of all of them.
        families: the templates that compete; chosen beforehand, so that a resumed run has the same ones.
        window: proposals in flight. A candidate is proposed when all but this many before it are known, whatever
            order they finish in: that makes proposals a function of the results.
        warm: genomes of an earlier run that the search begins with; chosen beforehand, as the families are.
        reuse: whether results on record for the same source, problem and machine are taken over.
        sanitize: whether finalists run under the sanitizers.
    """

    problem: dict[str, Any]
    shape: str
    beside: tuple[Shape, ...] = ()
    families: tuple[str, ...]
    strategy: str
    seed: int
    effort: Effort
    effort_name: str
    target: str
    arch: str | None = None
    builders: int
    window: int
    limits: Limits = Limits()
    templates: tuple[Path, ...] = ()
    debug: bool = False
    warm: tuple[Known, ...] = ()
    reuse: bool = False
    sanitize: bool = False
    build_deadline_s: float
    evaluate_deadline_s: float

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, data: Any) -> Any:
        """A plan on record may have a patience that counts results: its run goes on to the end of its budget."""
        if isinstance(data, dict) and isinstance(effort := data.get("effort"), dict):
            return {**data, "effort": {name: value for name, value in effort.items() if name != "patience"}}
        return data

    @classmethod
    def make(
        cls,
        shapes: Mapping[str, Problem],
        target: Target,
        effort: Effort,
        settings: Settings,
        *,
        effort_name: str,
        families: tuple[str, ...],
        strategy: str,
        seed: int,
        limits: Limits,
        warm: tuple[Known, ...] = (),
        reuse: bool = False,
        sanitize: bool = False,
    ) -> Self:
        """A plan; builders default to the cores, less one for driver and worker where those run beside them.

        Args:
            shapes: by name: one, or all that one kernel must serve.
        """
        first, *beside = (Shape.of(name, problem) for name, problem in shapes.items())
        spared = 0 if target.builds_disturb_timing else 1
        builders = settings.jobs or max(1, usable_cores() - spared)
        return cls(
            problem=first.problem,
            shape=first.shape,
            beside=tuple(beside),
            families=families,
            strategy=strategy,
            seed=seed,
            effort=effort,
            effort_name=effort_name,
            target=target.name,
            arch=settings.arch,
            builders=builders,
            window=min(effort.window * builders, window_of(tuple(shapes.values()), target)),
            limits=limits,
            templates=settings.templates,
            debug=settings.debug,
            warm=tuple(each for each in warm if each.family in families),
            reuse=reuse,
            sanitize=sanitize,
            build_deadline_s=settings.build_deadline_s,
            evaluate_deadline_s=settings.evaluate_deadline_s,
        )

    def make_problem(self) -> Problem:
        """The problem as an object; of a robust run the first."""
        return next(iter(self.make_problems().values()))

    def make_problems(self) -> dict[str, Problem]:
        """All shapes of the run, by name."""
        made = {}
        for each in (Shape(shape=self.shape, problem=self.problem), *self.beside):
            fields = dict(each.problem)
            made[each.shape] = problem_of(fields.pop("kind"))(**fields)
        return made

    @property
    def title(self) -> str:
        """What is searched, as the person called it."""
        return "+".join((self.shape, *(each.shape for each in self.beside)))


def window_of(problems: Sequence[Problem], target: Target) -> int:
    """Proposals in flight that keep a device busy; more would be made without the results of those before.

    Of short kernels a device examines dozens while one is built; of long ones the examinations take longer than the
    builds. It follows from the sizes alone, not from what was measured: proposals stay a function of the results.
    """
    examination_s = EXAMINATION_S + LAUNCHES * sum(floor_us(each, target, {}) for each in problems) / 1e6
    return QUEUE + math.ceil(2 * BUILD_S / examination_s)


def choose_families(
    problem: Problem,
    target: Target,
    wanted: tuple[str, ...],
    templates: tuple[Path, ...],
    *,
    beside: Sequence[Problem] = (),
    need_all: bool = True,
) -> tuple[str, ...]:
    """The families that take a problem on a target: those wanted, or all that fit.

    Args:
        beside: problems that the same kernel must serve.
        need_all: every wanted family must fit, not only some.

    Raises:
        NotFoundError: for a family that does not exist.
        SpaceError: when none fits, with each one's reason.
    """
    wanted = tuple(dict.fromkeys(wanted))
    # Families that were not asked for are not read: a half-written one must not stop a search of another.
    candidates = [load(family, templates) for family in wanted] or [
        each for each in load_all(templates).values() if each.manifest.target == target.name
    ]
    reasons = {each.family: _reasons(each, problem, target, beside) for each in candidates}
    chosen = tuple(family for family, reason in reasons.items() if not reason)
    if not chosen or (need_all and len(chosen) < len(wanted)):
        lines = [f"  {family}: {'; '.join(reason)}" for family, reason in reasons.items() if reason]
        label = " and ".join(each.label for each in (problem, *beside))
        raise SpaceError(
            f"no family takes {label} on {target.device}:\n" + "\n".join(lines)
            + "\nchoose another shape, dtype or target; `evoflash templates list` says what each family takes"
        )  # fmt: skip
    return chosen


def _reasons(template: Template, problem: Problem, target: Target, beside: Sequence[Problem]) -> list[str]:
    if template.manifest.target != target.name:
        return [f"it is for {template.manifest.target}"]
    refusals = [why for each in (problem, *beside) for why in template.refusals(each, target.facts)]
    differing = template.differing(template.manifest.constants, problem, beside)
    if differing:
        refusals.append(f"one kernel cannot serve shapes that differ in {', '.join(differing)}, which it has built in")
    return list(dict.fromkeys(refusals))
