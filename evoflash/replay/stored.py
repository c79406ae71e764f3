"""A run in the database as a recording of everything that it evaluated."""

from pathlib import Path

from evoflash.codegen.template import load
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay.recording import Recording
from evoflash.store import RunStore


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
    parameters = {}
    folders = tuple(Path(each) for each in run.plan.get("templates", ()))
    for family in {family for family, *_ in rows}:
        try:
            parameters[family] = load(family, folders).declaration.parameters
        except UsageError:
            continue  # the family no longer exists or is broken; the recorded values suffice
    return Recording.of(f"run-{run.id}", rows, parameters)
