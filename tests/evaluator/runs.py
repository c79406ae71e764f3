"""A real search through every genome of a broken family, and what came of each fault."""

from dataclasses import dataclass
from pathlib import Path

from evoflash.codegen.toolchain import Toolchain
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Final, Finals
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.search import Outcome, Search
from evoflash.store import RunStore
from evoflash.targets import Target
from tests.helpers import Quiet, plan


@dataclass
class Run:
    """`order` is the faults in the order of their numbers; `starts` counts workers, the finals' own not included."""

    outcome: Outcome
    order: list[str]
    verdicts: dict[str, Evaluation]
    starts: int
    status: str

    @property
    def finals(self) -> Finals:
        assert self.outcome.finals is not None, "nothing right was found"
        return self.outcome.finals

    def finals_of(self, fault: str) -> list[Final]:
        return [final for final in self.finals.finalists if self.order[final.index] == fault]


def search_everything(target: Target, folder: Path, family: str, templates: Path, deadline_s: float) -> Run:
    """Tries the whole family in random order until nothing is left."""
    deadlines = {"build_deadline_s": deadline_s, "evaluate_deadline_s": deadline_s}
    wanted = plan(target, family, templates, finalists=9, seed=5, **deadlines)
    with RunStore.open(str(folder / "runs.db"), write=True) as store:
        scheduler = LocalScheduler([wanted], [target], Toolchain(target, folder / "cache", deadline_s))
        search = Search([wanted], target, scheduler, store, Quiet())
        (outcome,) = search.run()
        summary = store.run(outcome.run_id)
        recorded = [store.candidate(store.candidate_id(outcome.run_id, index)) for index in range(summary.candidates)]
    assert all(each.source and each.source_digest for each in recorded)
    return Run(
        outcome,
        [str(each.candidate.genome["fault"]) for each in recorded],
        {
            str(each.candidate.genome["fault"]): each.evaluation
            for each in recorded
            if each.candidate.genome["work"] == 1
        },
        scheduler.examiners[0].evaluators[0].worker_starts,
        summary.status,
    )
