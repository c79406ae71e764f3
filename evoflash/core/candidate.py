"""A candidate: a genome of a family, with its parents and the operator that made it."""

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
        genome: the parameter values that it is rendered with.
        operator: how it was proposed: "seed", "prior", "random", "step", "crossover", "family-switch", "tpe" …
        parents: indices of the candidates that it was derived from; always smaller than `index`.
        origin: the candidate of another run that this genome was copied from, if any.
    """

    index: int
    family: str
    genome: Genome
    operator: str
    parents: tuple[int, ...] = ()
    origin: Origin | None = field(default=None, compare=False)  # provenance only, not part of the identity

    def __post_init__(self) -> None:
        if any(parent >= self.index for parent in self.parents):
            raise ValueError(f"candidate {self.index} cannot descend from {self.parents}")

    @property
    def key(self) -> tuple[str, str]:
        """Family and digest of the genome; two candidates with equal keys render the same source."""
        return self.family, self.genome.digest


@dataclass(frozen=True)
class Proposal:
    """What a proposer returns: a candidate without a number."""

    family: str
    genome: Genome
    operator: str
    parents: tuple[int, ...] = ()
    origin: Origin | None = None

    def numbered(self, index: int) -> Candidate:
        """The candidate with this number in the run."""
        return Candidate(index, self.family, self.genome, self.operator, self.parents, self.origin)
