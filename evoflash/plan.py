"""Everything that decides a run; stored with it, so that it can be resumed and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from evoflash.config import Effort, Settings
from evoflash.errors import SpaceError
from evoflash.evaluation import Record
from evoflash.evaluator import Limits
from evoflash.memory import Known
from evoflash.plugins import problem_of
from evoflash.problems import Problem
from evoflash.targets import Target
from evoflash.targets.base import usable_cores
from evoflash.template import Template, load, load_all


class Plan(Record):
    """A run's settings as resolved.

    Attributes:
        problem: its fields, and `kind`; shape is what the person called it.
        families: the templates that compete; chosen beforehand, so that a resumed run has the same ones.
        window: proposals in flight. A candidate is proposed when all but this many before it are known, whatever
            order they finish in: that makes proposals a function of the results.
        warm: genomes of an earlier run that the search begins with; chosen beforehand, as the families are.
        reuse: whether results on record for the same source, problem and machine are taken over.
        sanitize: whether finalists run under the sanitizers.
    """

    problem: dict[str, Any]
    shape: str
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

    @classmethod
    def make(
        cls,
        problem: Problem,
        target: Target,
        effort: Effort,
        settings: Settings,
        *,
        shape: str,
        effort_name: str,
        families: tuple[str, ...],
        strategy: str,
        seed: int,
        limits: Limits,
        warm: tuple[Known, ...] = (),
        reuse: bool = False,
        sanitize: bool = False,
    ) -> Self:
        """A plan; builders default to the cores, less one for driver and worker where those run beside them."""
        spared = 0 if target.builds_disturb_timing else 1
        builders = settings.jobs or max(1, usable_cores() - spared)
        return cls(
            problem={"kind": problem.kind, **problem.model_dump()},
            shape=shape,
            families=families,
            strategy=strategy,
            seed=seed,
            effort=effort,
            effort_name=effort_name,
            target=target.name,
            arch=settings.arch,
            builders=builders,
            window=effort.window * builders,
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
        """The problem as an object."""
        fields = dict(self.problem)
        return problem_of(fields.pop("kind"))(**fields)


def choose_families(
    problem: Problem, target: Target, wanted: tuple[str, ...], templates: tuple[Path, ...]
) -> tuple[str, ...]:
    """The families that take a problem on a target: those wanted, or all that fit.

    Raises:
        NotFoundError: for a family that does not exist.
        SpaceError: when none fits, with each one's reason.
    """
    wanted = tuple(dict.fromkeys(wanted))
    # Families that were not asked for are not read: a half-written one must not stop a search of another.
    candidates = [load(family, templates) for family in wanted] or [
        each for each in load_all(templates).values() if each.manifest.target == target.name
    ]
    reasons = {each.family: _reasons(each, problem, target) for each in candidates}
    chosen = tuple(family for family, reason in reasons.items() if not reason)
    if not chosen or (wanted and len(chosen) < len(wanted)):
        lines = [f"  {family}: {'; '.join(reason)}" for family, reason in reasons.items() if reason]
        raise SpaceError(
            f"no family takes {problem.label} on {target.device}:\n" + "\n".join(lines)
            + "\nchoose another shape, dtype or target; `evoflash templates list` says what each family takes"
        )  # fmt: skip
    return chosen


def _reasons(template: Template, problem: Problem, target: Target) -> list[str]:
    if template.manifest.target != target.name:
        return [f"it is for {template.manifest.target}"]
    return template.refusals(problem, target.facts)
