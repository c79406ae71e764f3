"""A run of our database as a recording: what it evaluated, over all its families."""

from pathlib import Path

from evoflash.codegen.template import load
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay.recording import Recording
from evoflash.store import RunStore


def recording(store: RunStore, run_id: int | None) -> Recording:
    """What a run evaluated; a twin has its elder's time.

    Raises:
        NotFoundError: when there is no such run.
        UsageError: when it found nothing right.
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
            continue  # the family has gone since, or is broken now; the recorded values say enough
    return Recording.of(f"run-{run.id}", rows, parameters)
