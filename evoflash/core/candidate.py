"""A candidate: a genome of a family, with where it came from."""

from dataclasses import dataclass, field

from evoflash.core.genome import Genome


@dataclass(frozen=True)
class Origin:
    """A candidate of another run, by its number there."""

    run_id: int
    index: int


@dataclass(frozen=True)
class Candidate:
    """One proposal of a run.

    Attributes:
        index: its number in the run, from 0, in the order of proposal.
        family: the template that renders it.
        genome: the values that it is rendered with.
        operator: what made it: "seed", "random", "mutation", "crossover", "family-switch", "tpe" …
        parents: the indices of the candidates that it was made from; always smaller than its own.
        origin: whose genome this is, where it was taken over from another run.
    """

    index: int
    family: str
    genome: Genome
    operator: str
    parents: tuple[int, ...] = ()
    origin: Origin | None = field(default=None, compare=False)  # it explains a candidate, it makes no other one

    def __post_init__(self) -> None:
        if any(parent >= self.index for parent in self.parents):
            raise ValueError(f"candidate {self.index} cannot descend from {self.parents}")

    @property
    def key(self) -> tuple[str, str]:
        """What makes two candidates the same: family and genome."""
        return self.family, self.genome.digest


@dataclass(frozen=True)
class Proposal:
    """What a proposer answers: a candidate that has no number yet."""

    family: str
    genome: Genome
    operator: str
    parents: tuple[int, ...] = ()
    origin: Origin | None = None

    def numbered(self, index: int) -> Candidate:
        """The candidate with this number in the run."""
        return Candidate(index, self.family, self.genome, self.operator, self.parents, self.origin)
