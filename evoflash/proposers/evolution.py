"""Evolution: the default strategy.

1. Begin with the spaces' known-good genomes, then a few genomes of each family that cover its values.
2. Three quarters of the proposals that follow are children that a model prefers (`ranking`): of many that the moves
   below make of the parents, in all families, the one that is expected to improve most on the best of all. So the
   budget goes to the family where that is to be expected, however the search began; a third of it in turn to the
   others that are not far behind, since a model expects little of what it has seen little of.
3. A model can be stuck, so at least a quarter is filtered by nothing: a bandit chooses among the moves by what they
   brought. "step", "jump" and "crossover" move parents, "family-switch" carries them to another family, "density" draws
   where good points lie, "random" anywhere. Every neighbour of the best is tried by and by.
4. When nothing has improved for long, every other proposal is the best with one gene at another value, however far
   ("sweep"): a good value beyond bad ones is what a model expects least.
5. Parents come from a population (`populations`).

A proposal is a function of the seed and of the results told, whatever is in flight: nothing waits for stragglers.
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.proposers.bandit import Bandit
from evoflash.proposers.base import Spaces, novel, random_proposal, seed_proposals
from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.models import load_ahead
from evoflash.proposers.operators import Child, Operators
from evoflash.proposers.populations import population
from evoflash.proposers.ranking import Ranking

SURROGATE = "surrogate"
MOVES = ("step", "jump", "crossover", "family-switch", "density", "random")
SLOWNESS = 6.0  # a family that is r times slower than the fastest gets r**-6 as many children
STARTER_DRAWS = 30
ELITES = 6  # places among the fastest that pay an operator


class Settings(BaseModel):
    """What `evolution` can be told, as in "evolution:surrogate=no".

    Attributes:
        starters: genomes that begin a search of one family; more families share twice as many.
        population: who becomes a parent; see `populations`.
        unfiltered: the least share of proposals that no model chose.
        pool: children of which the model chooses.
        trees: of a forest; process: the weight of the Gaussian process beside it.
        growth: a forest is grown anew when this share of results has been added.
        turns: of so many children that the model chooses, one is of another family than the fastest; 0 is none.
        sweep: results without an improvement, after which every other proposal sweeps the best; 0 is never.
        surrogate, bandit, crossover, density: parts that can be left out, to see what they are worth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    starters: Annotated[int, Field(ge=1)] = 8
    population: Literal["best", "elite", "map-elites"] = "elite"
    unfiltered: Annotated[float, Field(ge=0, le=1)] = 0.25
    pool: Annotated[int, Field(ge=10)] = 300
    trees: Annotated[int, Field(ge=2)] = 30
    process: Annotated[float, Field(ge=0, le=1)] = 0.8
    growth: Annotated[float, Field(gt=0)] = 0.06
    turns: Annotated[int, Field(ge=0)] = 3
    sweep: Annotated[int, Field(ge=0)] = 60
    surrogate: bool = True
    bandit: bool = True
    crossover: bool = True
    density: bool = True


class EvolutionProposer:
    """A model's choice among what many moves would make, and moves that a bandit chooses."""

    Settings = Settings

    def __init__(self, spaces: Spaces, seed: int, settings: Settings | None = None):
        self._spaces = spaces
        self._settings = settings or Settings()
        self._rng = random.Random(seed)
        self._families = sorted(spaces)
        self._lattices = {family: Lattice(space) for family, space in spaces.items()}
        self._proposed: dict[str, set[Point]] = {family: set() for family in spaces}
        self._operators = Operators(self._lattices, self._is_new, self._rng)
        left_out = {name for name in ("crossover", "density") if not getattr(self._settings, name)}
        left_out |= {"family-switch"} if len(spaces) == 1 else set()
        self._moves = [name for name in MOVES if name not in left_out]
        self._ranking = Ranking(
            self._lattices,
            self._operators,
            [name for name in self._moves if name != "step"],  # neighbours of the fastest are in the pool anyway
            size=self._settings.pool,
            growth=self._settings.growth,
            trees=self._settings.trees,
            process=self._settings.process,
            turns=self._settings.turns,
            rng=self._rng,
        )
        if self._settings.surrogate:
            load_ahead()
        self._population = population(self._settings.population)
        self._bandit = Bandit(self._moves)
        self._fastest: list[float] = []  # times of the elites, over all families
        self._in_flight: dict[tuple[str, str], str] = {}  # candidates that a move made -> which
        self._bred_by_model = self._bred_by_moves = 0
        self._since_best = 0  # results
        self._stale = 0  # proposals that were made when nothing had improved for long
        self._queue = deque(seed_proposals(spaces))
        self._starters = deque(self._starting_families())

    def ask(self, archive: Archive) -> Proposal | None:
        """A genome that has not been proposed."""
        proposal = self._known_good(archive) or self._starter() or self._bred(archive)
        if proposal is None:
            proposal = novel(archive, lambda: random_proposal(self._spaces, self._rng), self._rng, self._spaces)
        if proposal is not None:
            self._proposed[proposal.family].add(self._lattices[proposal.family].point(proposal.genome))
        return proposal

    def tell(self, member: Member) -> None:
        """Teaches the surrogate, and pays the operator by the place that its child takes among the fastest."""
        candidate, fitness = member.candidate, member.evaluation.fitness_us
        point = self._lattices[candidate.family].point(candidate.genome)
        self._proposed[candidate.family].add(point)
        self._ranking.tell(candidate.family, point, fitness)
        self._population.tell(member)
        reward = 0.0
        self._since_best += 1
        if member.evaluation.status is Status.OK and fitness is not None:
            place = bisect.bisect_right(self._fastest, fitness)
            self._fastest = [*self._fastest[:place], fitness, *self._fastest[place:]][:ELITES]
            reward = max(0.0, 1 - place / ELITES)
            if place == 0:
                self._since_best = 0
        move = self._in_flight.pop(candidate.key, None)
        if move is not None:
            self._bandit.pay(move, reward)

    def expected_gain(self, builds: int) -> float | None:
        """What the model expects of so many builds; see `patience.Forecaster`."""
        return self._ranking.expected_gain(builds)

    def said(self) -> dict[str, Any]:
        """How the population goes about it; see `insights.Talkative`."""
        return {f"island {name}": figures for name, figures in self._population.said().items()}

    def _is_new(self, family: str, point: Point) -> bool:
        return point not in self._proposed[family]

    def _starting_families(self) -> list[str]:
        rounds = self._settings.starters if len(self._spaces) == 1 else 2 * self._settings.starters // len(self._spaces)
        return [family for _ in range(max(2, rounds)) for family in self._families]

    def _known_good(self, archive: Archive) -> Proposal | None:
        while self._queue:
            proposal = self._queue.popleft()
            if not archive.has(proposal.family, proposal.genome):
                return proposal
        return None

    def _starter(self) -> Proposal | None:
        """Of a few random genomes of the family whose turn it is, the one whose values were tried least."""
        while self._starters:
            family = self._starters.popleft()
            lattice = self._lattices[family]
            drawn = [point for _ in range(STARTER_DRAWS) if self._is_new(family, point := lattice.sample(self._rng))]
            if drawn:
                tried = self._proposed[family]
                point = min(drawn, key=lambda each: lattice.crowding(each, tried))
                return Proposal(family, lattice.genome(point), "random")
        return None

    def _bred(self, archive: Archive) -> Proposal | None:
        """A child: of the model while its share is not spent, else by the move that the bandit chooses."""
        if archive.best is None:
            return None
        child = self._sweep(archive.best)
        if child is not None:
            return Proposal(child.family, self._genome(child), child.operator, child.parents)
        bred = self._bred_by_model + self._bred_by_moves
        if self._settings.surrogate and self._bred_by_moves >= self._settings.unfiltered * (bred + 1):
            child = self._ranking.next(archive, self._population.parents, self._is_new, archive.in_flight)
            if child is not None:
                self._bred_by_model += 1
                return Proposal(child.family, self._genome(child), SURROGATE, child.parents)
        moves = list(self._moves)
        while moves:  # of the others where one finds nothing new
            move = self._bandit.choose(moves, self._rng) if self._settings.bandit else self._rng.choice(moves)
            child = self._moved(move, archive)
            if child is not None:
                self._bred_by_moves += 1
                proposal = Proposal(child.family, self._genome(child), move, child.parents)
                self._in_flight[proposal.family, proposal.genome.digest] = move
                return proposal
            moves.remove(move)
        return None

    def _sweep(self, best: Member) -> Child | None:
        """The best with one gene changed, every other time when nothing has improved for long."""
        if not self._settings.sweep or self._since_best < self._settings.sweep:
            return None
        self._stale += 1
        return self._operators.make("sweep", best.candidate.family, [best]) if self._stale % 2 else None

    def _genome(self, child: Child) -> Genome:
        return self._lattices[child.family].genome(child.point)

    def _moved(self, move: str, archive: Archive) -> Child | None:
        family = self._family(archive, move)
        switch = move == "family-switch"
        return self._operators.make(
            move, family, archive.elites(ELITES) if switch else self._population.parents(archive, family)
        )

    def _family(self, archive: Archive, move: str) -> str:
        """Any family for a random genome or a switch; else mostly the one whose best is the fastest."""
        if len(self._families) == 1:
            return self._families[0]
        if move in ("random", "family-switch"):
            return self._rng.choice(self._families)
        families = archive.families()
        best_us = archive.elites(1)[0].fitness_us
        weights = [(best_us / archive.elites(1, family)[0].fitness_us) ** SLOWNESS for family in families]
        return self._rng.choices(families, weights=weights)[0]
