"""What a task tries next: the strategy's proposals, and now and then a good genome of another task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evoflash import proposers
from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate, Origin, Proposal
from evoflash.run import warm_start
from evoflash.run.families import Families
from evoflash.run.plan import Plan

SEED, TRANSFER = "seed", "transfer"
TRANSFER_INTERVAL = 4  # one in so many proposals of a task may be a genome of another task
TRANSFER_ELITES = 3  # genomes of another task that are worth a trial
MAX_REPEATED_ASKS = 20  # for known genomes, until a proposer that does not know of transfers counts as exhausted


class Proposals:
    """The candidates of one task, in order.

    Args:
        archive: the results that the proposer has learned; proposed genomes are registered there.

    Attributes:
        proposer: the strategy.
        count: candidates so far, those in flight included.
    """

    def __init__(self, plan: Plan, families: Families, archive: Archive):
        self.proposer: proposers.Proposer = (
            plan.survey.proposer(families.spaces, plan.seed)
            if plan.survey is not None
            else proposers.create(plan.strategy, families.spaces, plan.seed)
        )
        self.count = 0
        self._archive = archive
        self._spaces = families.spaces
        self._warm_origins = warm_start.origins(plan.warm)

    def next(self, relatives: Iterable[tuple[int, Archive]]) -> Candidate | None:
        """The next candidate; None when nothing new is left.

        Args:
            relatives: run and results of the tasks whose best genomes are worth a trial, the most similar first.
        """
        proposal = self._transfer(relatives) or self._ask()
        if proposal is None:
            return None
        candidate = replace(proposal, origin=self._origin(proposal)).numbered(self.count)
        self._archive.propose(candidate.family, candidate.genome)
        self.count += 1
        return candidate

    def _transfer(self, relatives: Iterable[tuple[int, Archive]]) -> Proposal | None:
        """A genome among the best of another task that is valid here and was not tried."""
        if self.count % TRANSFER_INTERVAL:
            return None
        for run_id, archive in relatives:
            for member in archive.elites(TRANSFER_ELITES):
                family, genome = member.candidate.family, member.candidate.genome
                space = self._spaces.get(family)
                if space is not None and not self._archive.has(family, genome) and warm_start.fits(space, genome):
                    return Proposal(family, genome, TRANSFER, origin=Origin(run_id, member.candidate.index))
        return None

    def _ask(self) -> Proposal | None:
        for _ in range(MAX_REPEATED_ASKS):
            proposal = self.proposer.ask(self._archive)
            if proposal is None or not self._archive.has(proposal.family, proposal.genome):
                return proposal
        return None

    def _origin(self, proposal: Proposal) -> Origin | None:
        """Where a genome was taken from: another task, or the run that this one began with."""
        if proposal.operator != SEED:
            return proposal.origin
        return self._warm_origins.get((proposal.family, proposal.genome.digest))
