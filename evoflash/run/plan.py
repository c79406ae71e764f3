"""Everything that decides a run; stored with it, so that it can be resumed and explained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from evoflash.codegen.template import Template, load, load_all
from evoflash.config import Effort, Settings
from evoflash.core.record import Record
from evoflash.errors import SpaceError
from evoflash.evaluator import Limits
from evoflash.evaluator.floor import floor_us
from evoflash.problems import Problem
from evoflash.run.shapes import Shape, shapes_on_record
from evoflash.run.survey import Survey
from evoflash.run.warm_start import Known
from evoflash.targets import Target
from evoflash.targets.base import usable_cores
from evoflash.targets.devices import ALL

# What a candidate takes, roughly: its build, and its examination with so many launches at the fastest conceivable pace.
BUILD_S = 2.0
EXAMINATION_S = 0.03
LAUNCHES = 600
ONE: Literal["one"] = "one"
EACH: Literal["each"] = "each"
QUEUE = 2  # candidates that wait for the device, so that it does not wait for them


class Plan(Record):
    """A run's settings as resolved.

    Attributes:
        shapes: what the kernel must serve. Of several its score is the geometric mean of its times, and it is rendered
            for the first.
        effort: where a search has several runs, budget and minutes are of all of them.
        families: the templates that compete; chosen beforehand, so that a resumed run has the same ones.
        window: proposals in flight. A candidate is proposed when all but this many before it are known, whatever
            order they finish in: that makes proposals a function of the results.
        devices: those that it was told to take, in the words of `--devices`.
        finals_on: whether its finals are held on the first of them, or on each, to be told apart.
        warm: genomes of an earlier run that the search begins with; chosen beforehand, as the families are.
        reuse: whether results on record for the same source, problem and machine are taken over.
        sanitize: whether finalists run under the sanitizers.
        rivals: baselines beside PyTorch's: of other packages by name, and functions as "module:function".
        survey: what is measured in place of a search; such a run has no finals.
    """

    shapes: tuple[Shape, ...] = Field(min_length=1)
    families: tuple[str, ...]
    strategy: str
    seed: int
    effort: Effort
    effort_name: str
    target: str
    arch: str | None = None
    builders: int
    window: int
    devices: str = ALL
    finals_on: Literal["one", "each"] = ONE
    limits: Limits = Limits()
    templates: tuple[Path, ...] = ()
    debug: bool = False
    warm: tuple[Known, ...] = ()
    reuse: bool = False
    sanitize: bool = False
    rivals: tuple[str, ...] = ()
    survey: Survey | None = None
    build_deadline_s: float
    evaluate_deadline_s: float

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, data: Any) -> Any:
        """A plan on record may have a patience that counts results: its run goes on to the end of its budget."""
        if not isinstance(data, dict):
            return data
        if "problem" in data:
            kept = {name: value for name, value in data.items() if name not in ("problem", "shape", "beside")}
            data = {**kept, "shapes": shapes_on_record(data)}
        if isinstance(effort := data.get("effort"), dict):
            data = {**data, "effort": {name: value for name, value in effort.items() if name != "patience"}}
        return data

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({each.name for each in self.shapes}) < len(self.shapes):
            raise ValueError("the shapes must have distinct names")
        return self

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
        rivals: tuple[str, ...] = (),
        devices: str = ALL,
        finals_on: Literal["one", "each"] = ONE,
        device_count: int = 1,
        survey: Survey | None = None,
    ) -> Self:
        """A plan; builders default to the cores, less one for driver and worker where those run beside them.

        Args:
            shapes: by name: one, or all that one kernel must serve.
            device_count: devices that examine at the same time.
        """
        spared = 0 if target.builds_disturb_timing else 1
        builders = settings.jobs or max(1, usable_cores() - spared)
        return cls(
            shapes=tuple(Shape(name=name, problem=problem) for name, problem in shapes.items()),
            families=families,
            strategy=strategy,
            seed=seed,
            effort=effort,
            effort_name=effort_name,
            target=target.name,
            arch=settings.arch,
            builders=builders,
            window=min(effort.window * builders, device_count * window_of(tuple(shapes.values()), target)),
            devices=devices,
            finals_on=finals_on,
            limits=limits,
            templates=settings.templates,
            debug=settings.debug,
            warm=tuple(each for each in warm if each.family in families),
            reuse=reuse,
            sanitize=sanitize,
            rivals=rivals,
            survey=survey,
            build_deadline_s=settings.build_deadline_s,
            evaluate_deadline_s=settings.evaluate_deadline_s,
        )

    @property
    def problems(self) -> dict[str, Problem]:
        """The problem of each shape, by its name."""
        return {each.name: each.problem for each in self.shapes}

    @property
    def title(self) -> str:
        """What is searched, as the person called it."""
        return "+".join(each.name for each in self.shapes)

    @property
    def label(self) -> str:
        """What is searched, by the sizes."""
        return " and ".join(each.problem.label for each in self.shapes)


def window_of(problems: Sequence[Problem], target: Target) -> int:
    """Proposals in flight that keep a device busy; more would be made without the results of those before.

    Of short kernels a device examines dozens while one is built; of long ones the examinations take longer than the
    builds. It follows from the sizes alone, not from what was measured: proposals stay a function of the results.
    """
    examination_s = EXAMINATION_S + LAUNCHES * sum(floor_us(each, target, {}) for each in problems) / 1e6
    return QUEUE + math.ceil(2 * BUILD_S / examination_s)


def choose_families(
    problems: Sequence[Problem],
    target: Target,
    wanted: tuple[str, ...],
    templates: tuple[Path, ...],
    *,
    need_all: bool = True,
    say: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """The families that take problems on a target: those wanted, or all that fit.

    Args:
        problems: all that one kernel must serve.
        need_all: every wanted family must fit, not only some.
        say: is told of each family that is left out because it is malformed, or reads facts that a problem has not;
            without it the first is an error.

    Raises:
        NotFoundError: for a family that does not exist.
        SpaceError: when none fits, with each one's reason.
    """
    wanted = tuple(dict.fromkeys(wanted))
    # Families that were not asked for are not read: a half-written one must not stop a search of another.
    candidates = [load(family, templates) for family in wanted] or [
        each for each in load_all(templates, say).values() if each.manifest.target == target.name
    ]
    reasons = {each.family: _reasons(each, problems, target) for each in candidates}
    chosen = tuple(family for family, reason in reasons.items() if not reason)
    if say is not None and chosen and not wanted:
        for each in candidates:
            if stale := next(filter(None, map(each.missing_facts, problems)), ""):
                say(f"family {each.family} is left out: {stale}")
    if not chosen or (need_all and len(chosen) < len(wanted)):
        lines = [f"  {family}: {'; '.join(reason)}" for family, reason in reasons.items() if reason]
        label = " and ".join(each.label for each in problems)
        raise SpaceError(
            f"no family takes {label} on {target.device}:\n" + "\n".join(lines)
            + "\nchoose another shape, dtype or target; `evoflash templates list` says what each family takes"
        )  # fmt: skip
    return chosen


def _reasons(template: Template, problems: Sequence[Problem], target: Target) -> list[str]:
    if template.manifest.target != target.name:
        return [f"it is for {template.manifest.target}"]
    refusals = [why for each in problems for why in template.refusals(each, target.facts)]
    differing = template.differing(template.manifest.constants, problems)
    if differing:
        refusals.append(f"one kernel cannot serve shapes that differ in {', '.join(differing)}, which it has built in")
    return list(dict.fromkeys(refusals))
