"""Evolution: the default strategy.

1. Start with the seeds of the spaces, then a few genomes of each family that cover its values. Where a space has a
   prior (`space.prior`), which knows what was fast on other problems, every other one of these is the best of a few
   draws by it, and so is every proposal until something is known of this problem. The model below begins with it, too.
2. Three quarters of the following proposals are chosen by a model (`ranking`). The moves below generate a pool of
   children in all families, and the child is proposed whose expected improvement over the best is the largest for the
   seconds that its build and its examination will take. The model sees log times of which the slower half is
   compressed, since only the order of slow kernels matters. One ranking over all families also divides the budget
   between them, except that every third such child comes from another family whose best is close to the fastest,
   because a model expects little of a family that it has seen little of.
3. At least a quarter of the proposals is not filtered by the model, which can get stuck. A bandit chooses the move by
   past rewards: "step", "jump" and "crossover" change parents, "family-switch" carries a parent over to another family,
   "density" samples where good points are frequent, "random" samples uniformly.
4. After a long time without improvement, every other proposal changes one gene of the best to any other value
   ("sweep"), because a model does not expect good values behind bad ones.
5. Parents come from a population (`populations`).

Proposals are a function of the seed and the results, and never wait for candidates in flight.
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.proposers.bandit import Bandit
from evoflash.proposers.base import Spaces, novel, random_proposal, seed_proposals
from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.limits import RegisterLimit
from evoflash.proposers.models import load_ahead
from evoflash.proposers.operators import Child, Operators
from evoflash.proposers.populations import population
from evoflash.proposers.ranking import Ranking

SURROGATE = "surrogate"
MOVES = ("step", "jump", "crossover", "family-switch", "density", "random")
SLOWDOWN_POWER = 6.0  # a family that is r times slower than the fastest gets r**-6 times as many children
STARTER_DRAWS = 30
LIKELY = 0.5  # the probability of keeping a limit on registers, below which a child is not made if it can be helped
REDRAWS = 10  # children, until one is made that probably does not keep it
ELITES = 6  # a move is rewarded when its child ranks among this many fastest candidates


class Settings(BaseModel):
    """Settings of `evolution`, as in "evolution:surrogate=no".

    Attributes:
        starters: initial genomes of a search over one family; several families share twice as many.
        population: where parents come from; see `populations`.
        unfiltered: minimum share of proposals that are not chosen by the model.
        pool: children among which the model chooses.
        trees: trees of a forest.
        process: weight of the Gaussian process against the forest, from 0 to 1.
        growth: the models are refitted when the number of results has grown by this share.
        thrift: exponent of the seconds that a child is expected to take, by which its expected improvement is divided:
            0 counts candidates, 1 counts seconds (Snoek et al., NeurIPS 2012, section 3.2).
        turns: one of this many model-chosen children comes from a family other than the fastest; 0 disables this.
        sweep: results without an improvement after which every other proposal sweeps the best; 0 disables this.
        prior: random genomes among which a space's prior chooses at the start; 0 disregards priors altogether.
        surrogate, bandit, crossover, density, flatten: parts that can be disabled, for ablation; `flatten` compresses
            times above the median before the models are fitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    starters: Annotated[int, Field(ge=1)] = 8
    population: Literal["best", "elite", "map-elites"] = "elite"
    unfiltered: Annotated[float, Field(ge=0, le=1)] = 0.25
    pool: Annotated[int, Field(ge=10)] = 300
    trees: Annotated[int, Field(ge=2)] = 100
    process: Annotated[float, Field(ge=0, le=1)] = 0.8
    growth: Annotated[float, Field(gt=0)] = 0.06
    thrift: Annotated[float, Field(ge=0, le=1)] = 1.0
    turns: Annotated[int, Field(ge=0)] = 3
    sweep: Annotated[int, Field(ge=0)] = 60
    prior: Annotated[int, Field(ge=0)] = 10
    surrogate: bool = True
    bandit: bool = True
    crossover: bool = True
    density: bool = True
    flatten: bool = True


class EvolutionProposer:
    """Proposes children chosen by a model, and children of moves chosen by a bandit."""

    Settings = Settings

    def __init__(self, spaces: Spaces, seed: int, settings: Settings | None = None):
        self._settings = settings or Settings()
        if not self._settings.prior:
            spaces = {family: space.expecting(None) for family, space in spaces.items()}
        self._spaces = spaces
        self._rng = random.Random(seed)
        self._families = sorted(spaces)
        self._has_priors = any(space.prior is not None for space in spaces.values())
        self._lattices = {family: Lattice(space) for family, space in spaces.items()}
        self._limits = {family: RegisterLimit(lattice) for family, lattice in self._lattices.items()}
        self._proposed: dict[str, set[Point]] = {family: set() for family in spaces}
        self._operators = Operators(self._lattices, self._is_new, self._rng)
        left_out = {name for name in ("crossover", "density") if not getattr(self._settings, name)}
        left_out |= {"family-switch"} if len(spaces) == 1 else set()
        self._moves = [name for name in MOVES if name not in left_out]
        self._ranking = Ranking(
            self._lattices,
            self._operators,
            [name for name in self._moves if name != "step"],  # the pool contains the neighbours of the fastest anyway
            size=self._settings.pool,
            growth=self._settings.growth,
            trees=self._settings.trees,
            process=self._settings.process,
            flatten=self._settings.flatten,
            thrift=self._settings.thrift,
            turns=self._settings.turns,
            kept=lambda family, points: self._limits[family].kept(points),
            rng=self._rng,
        )
        if self._settings.surrogate:
            load_ahead()
        self._population = population(self._settings.population)
        self._bandit = Bandit(self._moves)
        self._fastest: list[float] = []  # times of the fastest candidates, over all families
        self._in_flight: dict[tuple[str, str], str] = {}  # key of a candidate -> the move that made it
        self._model_children = self._move_children = 0
        self._since_best = 0  # results since the last improvement
        self._stagnant_proposals = 0  # proposals made while sweeping
        self._queue = deque(seed_proposals(spaces))
        self._starters = deque(self._starting_families())

    def ask(self, archive: Archive) -> Proposal | None:
        """A new genome."""
        proposal = self._known_good(archive) or self._starter() or self._child(archive)
        if proposal is None:
            proposal = novel(archive, self._random, self._rng, self._spaces)
        if proposal is not None:
            self._proposed[proposal.family].add(self._lattices[proposal.family].point(proposal.genome))
        return proposal

    def tell(self, member: Member) -> None:
        """Updates the models and the population, and rewards the move by its child's rank among the fastest."""
        candidate, fitness = member.candidate, member.evaluation.fitness_us
        point = self._lattices[candidate.family].point(candidate.genome)
        self._proposed[candidate.family].add(point)
        self._ranking.tell(candidate.family, point, fitness, _seconds(member.evaluation))
        self._limits[candidate.family].tell(point, member.evaluation)
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
            self._bandit.update(move, reward)

    def expected_gain(self, builds: int) -> float | None:
        """The expected gain of the next `builds` candidates; see `run.stopping.Forecaster`."""
        return self._ranking.expected_gain(builds)

    def figures(self) -> dict[str, Any]:
        """Statistics of the population; see `run.insights`."""
        return {f"island {name}": figures for name, figures in self._population.figures().items()}

    def _is_new(self, family: str, point: Point) -> bool:
        return point not in self._proposed[family]

    def _starting_families(self) -> list[tuple[str, bool]]:
        """The families in turn, and whether values are to be covered."""
        rounds = self._settings.starters if len(self._spaces) == 1 else 2 * self._settings.starters // len(self._spaces)
        return [(family, number % 2 == 1) for number in range(max(2, rounds)) for family in self._families]

    def _known_good(self, archive: Archive) -> Proposal | None:
        while self._queue:
            proposal = self._queue.popleft()
            if not archive.has(proposal.family, proposal.genome):
                return proposal
        return None

    def _starter(self) -> Proposal | None:
        """Among a few random genomes of the next family, the best by its prior, or that with the least tried values."""
        while self._starters:
            family, covers = self._starters.popleft()
            promising = None if covers else self._promising(family)
            if promising is not None:
                return promising
            lattice = self._lattices[family]
            drawn = [point for _ in range(STARTER_DRAWS) if self._is_new(family, point := lattice.sample(self._rng))]
            if drawn:
                kept = self._limits[family].kept(drawn)
                drawn = [each for each, likely in zip(drawn, kept, strict=True) if likely >= min(LIKELY, kept.max())]
                tried = self._proposed[family]
                point = min(drawn, key=lambda each: lattice.crowding(each, tried))
                return Proposal(family, lattice.genome(point), "random")
        return None

    def _promising(self, family: str) -> Proposal | None:
        """Among a few random genomes of a family, the one that its prior expects most of; None without a prior."""
        lattice = self._lattices[family]
        if lattice.space.prior is None:
            return None
        drawn = [lattice.sample(self._rng) for _ in range(self._settings.prior)]
        drawn = [each for each in drawn if self._is_new(family, each) and self._is_likely(family, each)]
        if not drawn:
            return None
        return Proposal(family, lattice.genome(drawn[int(lattice.expected(drawn).argmin())]), "prior")

    def _child(self, archive: Archive) -> Proposal | None:
        """A sweep, a child chosen by the model while its share is not used up, or a child of the bandit's move."""
        if archive.best is None:
            return None
        child = self._sweep(archive.best)
        if child is not None:
            return Proposal(child.family, self._genome(child), child.operator, child.parents)
        made = self._model_children + self._move_children
        if self._settings.surrogate and self._move_children >= self._settings.unfiltered * (made + 1):
            child = self._ranking.next(archive, self._population.parents, self._is_new, archive.in_flight)
            if child is not None:
                self._model_children += 1
                return Proposal(child.family, self._genome(child), SURROGATE, child.parents)
        moves = list(self._moves)
        while moves:  # until a move finds a new child
            move = self._bandit.choose(moves, self._rng) if self._settings.bandit else self._rng.choice(moves)
            child = self._moved(move, archive)
            if child is not None:
                self._move_children += 1
                proposal = Proposal(child.family, self._genome(child), move, child.parents)
                self._in_flight[proposal.family, proposal.genome.digest] = move
                return proposal
            moves.remove(move)
        return None

    def _sweep(self, best: Member) -> Child | None:
        """While nothing improves: every other time, the best with one gene changed."""
        if not self._settings.sweep or self._since_best < self._settings.sweep:
            return None
        self._stagnant_proposals += 1
        return self._operators.make("sweep", best.candidate.family, [best]) if self._stagnant_proposals % 2 else None

    def _genome(self, child: Child) -> Genome:
        return self._lattices[child.family].genome(child.point)

    def _random(self) -> Proposal:
        """A random genome that probably keeps the limits; while nothing right is known, one by the prior."""
        if self._has_priors and not self._fastest:
            promising = self._promising(self._rng.choice(self._families))
            if promising is not None:
                return promising
        proposal = random_proposal(self._spaces, self._rng)
        for _ in range(REDRAWS):
            if self._is_likely(proposal.family, self._lattices[proposal.family].point(proposal.genome)):
                break
            proposal = random_proposal(self._spaces, self._rng)
        return proposal

    def _is_likely(self, family: str, point: Point) -> bool:
        return self._limits[family].kept([point])[0] >= LIKELY

    def _moved(self, move: str, archive: Archive) -> Child | None:
        """A child of a move that probably keeps the limits."""
        child = None
        for _ in range(REDRAWS):
            child = self._moved_once(move, archive)
            if child is None or self._is_likely(child.family, child.point):
                break
        return child

    def _moved_once(self, move: str, archive: Archive) -> Child | None:
        family = self._family(archive, move)
        switch = move == "family-switch"
        return self._operators.make(
            move, family, archive.elites(ELITES) if switch else self._population.parents(archive, family)
        )

    def _family(self, archive: Archive, move: str) -> str:
        """Any family for a random genome or a switch; otherwise mostly the family with the fastest member."""
        if len(self._families) == 1:
            return self._families[0]
        if move in ("random", "family-switch"):
            return self._rng.choice(self._families)
        families = archive.families()
        best_us = archive.elites(1)[0].fitness_us
        weights = [(best_us / archive.elites(1, family)[0].fitness_us) ** SLOWDOWN_POWER for family in families]
        return self._rng.choices(families, weights=weights)[0]


def _seconds(evaluation: Evaluation) -> float | None:
    """Seconds of a build and an examination; None where one was spared, which tells nothing of others like it."""
    spared = evaluation.status is Status.DUPLICATE or (evaluation.build is not None and evaluation.build.cached)
    return None if spared else evaluation.spent_seconds
