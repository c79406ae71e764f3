"""A sitting of `evoflash record`: what is left to measure, and the file that its results go to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoflash.api.prepared import PreparedSearch
from evoflash.api.result import OnResult, Results
from evoflash.codegen.template import load
from evoflash.config import Settings
from evoflash.core.record import Document
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, UsageError
from evoflash.replay.recorded_file import RecordedFile
from evoflash.replay.stored import facts
from evoflash.run.families import Families
from evoflash.run.plan import Plan
from evoflash.run.survey import Survey, places
from evoflash.run.tasks import BASELINES
from evoflash.search import Search
from evoflash.store import RunStore, RunSummary
from evoflash.targets import Target

Say = Callable[[str], None]

WRITTEN = "written"  # the kind of an insight: the results of this run are in the file


class FamilyRecorded(Document):
    """What a file has of one family.

    Attributes:
        family: its name.
        points: configurations with a result.
        failures: how many of them failed.
        best_us: the fastest time in microseconds; None where nothing was correct.
    """

    family: str
    points: int
    failures: int
    best_us: float | None


class RecordedDocument(Document):
    """What a file of `evoflash record` has after a sitting.

    Attributes:
        out: the file.
        size: its bytes.
        new: results that this sitting has added.
        seconds: how long this sitting measured.
        points_a_minute: its pace.
        ended: why it ended.
        families: what the file has of each family, over all sittings.
        statuses: how often each was, over all sittings.
    """

    out: str
    size: int
    new: int
    seconds: float
    points_a_minute: float
    ended: str
    families: tuple[FamilyRecorded, ...]
    statuses: dict[str, int]


@dataclass(frozen=True)
class Sitting:
    """A sitting that is ready to begin.

    Attributes:
        out: the file.
        recorded: what it has, and what sittings have left that were killed.
        regained: runs of such sittings.
        search: what measures the rest.
        left: how many genomes that is, at most.
    """

    out: Path
    recorded: RecordedFile
    regained: tuple[int, ...]
    search: PreparedSearch
    left: int

    @classmethod
    def of(cls, out: Path, plan: Plan, taken: Sequence[Target], settings: Settings, say: Say) -> Sitting:
        """Reads the file, if there is one, and leaves out what it has."""
        device = taken[0]
        families = Families(plan, device)
        families.require_valid_genomes()
        survey = plan.survey
        assert survey is not None
        survey = survey.model_copy(update={"sources": _sources(families, plan, device)})
        recorded = RecordedFile.read(out) if out.exists() else RecordedFile()
        _require_same(out, recorded.metadata, plan, survey, device)
        regained = _regain(recorded, plan, survey, device, settings, say)
        left = 0
        skipped = {}
        for family, space in families.spaces.items():
            known = recorded.known(family)
            skipped[family] = places(survey.genomes(space, plan.seed), known) if known else ()
            done = sum(last - first + 1 for first, last in skipped[family])
            left += (survey.sample or sum(1 for _ in survey.genomes(space, plan.seed))) - done
            if done:
                say(f"{family}: {done} of its genomes have a result already, which are not measured again")
        effort = plan.effort.model_copy(update={"budget": max(1, left)})
        changes = {"survey": survey.model_copy(update={"skipped": skipped}), "effort": effort}
        return cls(out, recorded, regained, PreparedSearch([plan.model_copy(update=changes)], taken, settings), left)

    def run(self, on_result: OnResult | None = None) -> RecordedDocument:
        """Measures until nothing is left or the minutes are spent; what was measured is written in any case."""
        if not self.left:
            return self.kept()
        with self.search.database() as store:
            engine = self.search.search(store, Results(on_result))
            try:
                engine.run()
            finally:
                kept = self.keep(store, engine)
        return kept

    def keep(self, store: RunStore, engine: Search) -> RecordedDocument:
        """Writes the file with what a sitting has measured, which may have been interrupted.

        Raises:
            StorageError: when it cannot be written; the results are in the database, and the next sitting finds them.
        """
        new, ended = 0, None
        if len(engine.tasks):
            ended = store.run(engine.tasks[0].run_id)
            new = _take_in(self.recorded, store, ended)
        if self.recorded.results:  # nothing, where it was interrupted before its first
            self.recorded.write(self.out)
        for run_id in (*self.regained, *((ended.id,) if ended is not None else ())):
            store.record_insight(run_id, 0, WRITTEN, f"the results are in {self.out}", {})
        return self.kept(new, ended)

    def kept(self, new: int = 0, ended: RunSummary | None = None) -> RecordedDocument:
        """What the file has."""
        seconds = ended.elapsed_s or 0.0 if ended is not None else 0.0
        rows = [(family, each) for (family, _), each in self.recorded.results.items()]
        return RecordedDocument(
            out=str(self.out),
            size=self.out.stat().st_size if self.out.exists() else 0,
            new=new,
            seconds=seconds,
            points_a_minute=60 * new / seconds if seconds else 0.0,
            ended=ended.stop_reason if ended is not None and new < self.left else "everything has been measured",
            families=tuple(
                _of_family(family, [each for own, each in rows if own == family]) for family in self.recorded.families
            ),
            statuses=dict(Counter(str(each["status"]) for _, each in rows).most_common()),
        )


def _sources(families: Families, plan: Plan, device: Target) -> dict[str, str]:
    """By family the digest of one kernel: whether a template or a space has changed between two sittings."""
    problems = list(plan.problems.values())
    sources = {}
    for family, template in families.templates.items():
        genome = template.space(problems, device.facts).sample(random.Random(0))
        sources[family] = template.render(genome, problems[0], device.facts).digest[:16]
    return sources


def _require_same(out: Path, metadata: Mapping[str, Any], plan: Plan, survey: Survey, device: Target) -> None:
    """Raises UsageError when a file records something else than a plan is about to."""
    if not metadata:
        return
    (problem,) = plan.problems.values()
    wanted = {"problem": problem.to_dict(), "device": device.device}
    for name, value in wanted.items():
        if metadata.get(name) != value:
            shown = (metadata.get("label"), plan.label) if name == "problem" else (metadata.get(name), value)
            raise UsageError(f"{out} records {shown[0]}, not {shown[1]}; choose another --out")
    samples = (metadata.get("timing") or {}).get("samples")
    if samples != plan.effort.samples:
        raise UsageError(f"{out} has {samples} samples of a timing, not {plan.effort.samples}; choose another --out")
    for family, digest in (metadata.get("sources") or {}).items():
        if survey.sources.get(family, digest) != digest:
            raise UsageError(f"the kernels of {family} have changed since {out} was begun; choose another --out")


def _regain(
    recorded: RecordedFile, plan: Plan, survey: Survey, device: Target, settings: Settings, say: Say
) -> tuple[int, ...]:
    """Takes in the results of sittings that were killed before they wrote the file; the runs of those."""
    try:
        store = RunStore.open(settings.db)
    except NotFoundError:  # the first run of a database
        return ()
    problem = next(iter(plan.problems.values())).to_dict()
    regained = []
    with store:
        for run in store.runs():
            left: Mapping[str, Any] = run.plan.get("survey") or {}
            same = (
                left.get("out") == survey.out
                and run.candidates
                and run.problem == problem
                and run.machine.get("device") == device.device
                and run.plan["effort"]["samples"] == plan.effort.samples
                and all(survey.sources.get(family, each) == each for family, each in left.get("sources", {}).items())
            )
            if same and not any(each.kind == WRITTEN for each in store.insights(run.id)):
                new = _take_in(recorded, store, run)
                regained.append(run.id)
                say(f"run {run.id} ended before it wrote {recorded_as(left)}: its {new} results are taken in")
    return tuple(regained)


def recorded_as(survey: Mapping[str, Any]) -> str:
    """The file of a survey on record, without its folder."""
    return Path(survey["out"]).name


def _take_in(recorded: RecordedFile, store: RunStore, run: RunSummary) -> int:
    """Adds what a run has measured, and that it did; returns how many results are new."""
    survey = run.plan["survey"]
    new = recorded.add(store.recorded(run.id))
    known = facts(run)
    metadata = recorded.metadata
    for name, value in known.items():
        metadata.setdefault(name, value)
    metadata["sources"] = {**metadata.get("sources", {}), **survey["sources"]}
    templates = tuple(Path(each) for each in run.plan["templates"])
    for family in run.plan["families"]:
        recorded.families.setdefault(family, load(family, templates).declaration.parameters)
    differing = {name: each for name, each in run.machine.items() if metadata["machine"].get(name) != each}
    baselines = next((dict(each.data) for each in store.insights(run.id) if each.kind == BASELINES), {})
    if not new:
        return 0
    metadata.setdefault("sittings", []).append(
        {
            "id": survey["sitting"],
            "begun": run.created_at.isoformat(timespec="seconds"),
            "seconds": round(run.elapsed_s or 0.0, 1),
            "points": new,
            "families": list(run.plan["families"]),
            "set": survey["only"],
            "sample": survey["sample"],
            "seed": run.seed,
            "baselines_us": baselines,
            "machine": differing,
        }
    )
    return new


def _of_family(family: str, results: Sequence[Mapping[str, Any]]) -> FamilyRecorded:
    times_ms = [each["value"] for result in results for each in result["measurements"] if each["name"] == "time"]
    failures = sum(result["status"] != Status.OK for result in results)
    best_us = 1e3 * min(times_ms) if times_ms else None
    return FamilyRecorded(family=family, points=len(results), failures=failures, best_us=best_us)
