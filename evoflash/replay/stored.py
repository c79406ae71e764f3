"""A run in the database as a recording of everything that it evaluated."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evoflash.codegen.template import load
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay.recorded_file import RecordedFile
from evoflash.replay.recording import Recording, inferred
from evoflash.space.parameter import Parameter
from evoflash.store import RunStore, RunSummary


def recording(store: RunStore, run_id: int | None) -> Recording:
    """The evaluated candidates of a run; a duplicate has the time of its original.

    Raises:
        NotFoundError: when there is no such run.
        UsageError: when it found nothing correct.
    """
    run = store.run(run_id)
    rows = []
    for candidate, evaluation in store.recorded(run.id):
        if evaluation.status is Status.DUPLICATE and evaluation.fitness_us is not None:
            evaluation = evaluation.model_copy(update={"status": Status.OK, "duplicate_of": None})
        rows.append((candidate.family, candidate.genome, evaluation))
    return Recording.of(f"run-{run.id}", rows, _parameters(run, {family for family, *_ in rows}))


def of_run(store: RunStore, run: RunSummary) -> RecordedFile:
    """What a run has evaluated, as T4 results."""
    pairs = store.recorded(run.id)
    families = sorted({candidate.family for candidate, _ in pairs})
    shown = {
        family: inferred([candidate.genome for candidate, _ in pairs if candidate.family == family])
        for family in families
    }
    found = RecordedFile(facts(run), {**shown, **_parameters(run, families)})
    found.add(pairs)
    return found


def facts(run: RunSummary) -> dict[str, Any]:
    """What a run computes, where and how it was timed, as T4 metadata."""
    effort, machine = run.plan.get("effort") or {}, run.machine
    return {
        "problem": run.problem,
        "label": run.problem_label,
        "target": run.target,
        "device": machine.get("device"),
        "machine": machine,
        "timing": {name: effort[name] for name in ("samples", "quick_samples", "give_up") if name in effort},
    }


def _parameters(run: RunSummary, families: Iterable[str]) -> dict[str, dict[str, Parameter]]:
    """The declared parameters of families, as far as they still exist."""
    parameters = {}
    folders = tuple(Path(each) for each in run.plan.get("templates", ()))
    for family in families:
        with contextlib.suppress(UsageError):  # it no longer exists or is broken; the recorded values suffice
            parameters[family] = load(family, folders).declaration.parameters
    return parameters
