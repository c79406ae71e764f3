"""What tests of the core share: the fixture folders, a small problem, small spaces, results made by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoflash.config import Effort
from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Candidate, Proposal
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.status import Stage, Status
from evoflash.problems.attention import AttentionProblem
from evoflash.run.plan import Plan
from evoflash.run.shapes import Shape
from evoflash.space.declaration import Declaration
from evoflash.space.search_space import SearchSpace
from evoflash.targets import Target

FIXTURES = Path(__file__).parent / "fixtures"
TINY, BROKEN, BROKEN_CUDA = FIXTURES / "tiny", FIXTURES / "broken", FIXTURES / "broken_cuda"

# The one size that the fixture families take.
SHAPE = "b=1,h=2,s=32,d=16,dtype=fp32"
PROBLEM = AttentionProblem.of(1, 2, 32, 16, dtype="float32")


def ordinal(*values: int) -> dict[str, Any]:
    return {"kind": "ordinal", "values": values}


def categorical(*values: Any) -> dict[str, Any]:
    return {"kind": "categorical", "values": values}


FLAG = {"kind": "flag"}


def space(
    parameters: Mapping[str, Any],
    constraints: Sequence[str] = (),
    family: str = "small",
    device: Mapping[str, Any] | None = None,
    **more: Any,
) -> SearchSpace:
    """A space without a file, on a problem of 64 rows."""
    declared = [{"expr": each, "why": f"so says {each}"} for each in constraints]
    declaration = Declaration.model_validate(
        {"family": family, "parameters": parameters, "constraints": declared, **more}
    )
    return SearchSpace(declaration, [{"rows": 64}], device or {"cores": 2})


def right(p50_us: float, **changes: Any) -> Evaluation:
    """A right kernel with this time."""
    timing = Timing(regime="warm", p50_us=p50_us, p90_us=p50_us, p99_us=p50_us, launches=1, samples=(p50_us,))
    return Evaluation(**{"status": Status.OK, "stage": Stage.FULL, "timings": (timing,), **changes})


def failed(status: Status = Status.WRONG) -> Evaluation:
    return Evaluation(status=status, stage=Stage.CORRECTNESS, reason="made to fail")


def tell(proposer: Any, archive: Archive, proposal: Proposal, evaluation: Evaluation) -> Member:
    """Adds a result to the archive and tells it, as the search does."""
    member = archive.add(proposal.numbered(len(archive)), evaluation)
    proposer.tell(member)
    return member


def plan(target: Target, family: str, folder: Path, **changes: Any) -> Plan:
    """A small plan of one fixture family on the fixture's problem; `budget` and `finalists` go into the effort."""
    effort = {"budget": 1000, "minutes": 30, "finalists": 3, "rounds": 2, "samples": 3, "quick_samples": 2, "window": 2}
    effort = {**effort, "patience_percent": None}
    effort |= {name: changes.pop(name) for name in tuple(changes) if name in effort and name != "window"}
    builders = changes.get("builders", 2)
    values = {
        "shapes": (Shape(name=SHAPE, problem=PROBLEM),),
        "families": (family,),
        "strategy": "random",
        "seed": 0,
        "effort": Effort(**effort),
        "effort_name": "test",
        "target": target.name,
        "builders": builders,
        "window": 4,
        "templates": (folder,),
        "build_deadline_s": 60.0,
        "evaluate_deadline_s": 60.0,
    }
    return Plan(**{**values, **changes})


class Quiet:
    """Progress that nobody watches, but that is remembered."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bests: list[int] = []

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        self.times_us = times_us

    def update(self, *_: int) -> None: ...

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        if is_best:
            self.bests.append(candidate.index)

    def note(self, text: str) -> None:
        self.notes.append(text)
