"""Optuna's samplers tpe, cmaes, nsga2 and gp, through ask and tell.

The study is kept in memory and is a function of the seed and the results. The database of the run gets a copy for
optuna-dashboard (`store.mirror`).

TPE models a tree: the family, then that family's parameters. The other samplers only model parameters that every trial
has, and sample the rest at random. So for them each trial has the parameters of all families, of which the chosen
family's are used.

Parameters are categorical, because with integers TPE stalls on repeated proposals. CMA-ES needs numbers, so it gets the
index of each value, with the margin that keeps integers from getting stuck (arXiv 2205.13482).

A genome that violates a constraint is repaired. Model-based samplers (tpe, gp) get the result with the repaired genes.
Population-based samplers (cmaes, nsga2) get it with their own genes, since they recombine the trials that they asked
for.
"""

from __future__ import annotations

import random
import warnings
from typing import TYPE_CHECKING, Any

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Candidate, Proposal
from evoflash.core.genome import Gene, Genome
from evoflash.errors import unknown
from evoflash.proposers.base import Spaces, novel, random_proposal

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "nsga2", "gp")
MODEL_BASED = ("tpe", "gp")
PENALTY = (
    2.0  # the value of a failure, as a multiple of the slowest correct kernel; finite, so that models can be fitted
)
MAX_REPEATS = 5  # repeated proposals of a sampler before a random genome is used


class OptunaProposer:
    """One sampler over all families."""

    def __init__(self, spaces: Spaces, seed: int, sampler: str = "tpe"):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._spaces = spaces
        self._rng = random.Random(seed)
        self._name = sampler
        self._study = optuna.create_study(sampler=_sampler(optuna, sampler, seed), direction="minimize")
        self._pending: dict[tuple[str, str], optuna.Trial] = {}
        self._values: dict[tuple[str, str], float] = {}
        self._worst_us: float | None = None
        self._early_failures: list[tuple[optuna.Trial | None, Candidate]] = []

    def ask(self, archive: Archive) -> Proposal | None:
        """The sampler's next genome, repaired; a random one when the sampler keeps repeating itself."""
        for _ in range(MAX_REPEATS):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                trial = self._study.ask()
                family, genome = self._genome(trial)
            key = (family, genome.digest)
            if not archive.has(family, genome):
                self._pending[key] = trial
                return Proposal(family, genome, self._name)
            self._close(trial, family, genome, self._values.get(key))
        return novel(archive, lambda: random_proposal(self._spaces, self._rng), self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """Finishes the trial of this candidate."""
        fitness = member.evaluation.fitness_us
        key = member.candidate.key
        trial = self._pending.pop(key, None)
        if fitness is None and self._worst_us is None:
            self._early_failures.append((trial, member.candidate))  # the penalty is not known yet
            return
        if fitness is not None:
            self._worst_us = max(self._worst_us or 0.0, fitness)
        assert self._worst_us is not None
        penalty = PENALTY * self._worst_us
        for early, candidate in self._early_failures:
            self._finish(early, candidate, penalty)
        self._early_failures.clear()
        self._finish(trial, member.candidate, fitness if fitness is not None else penalty)

    def _finish(self, trial: optuna.Trial | None, candidate: Candidate, value: float) -> None:
        self._values[candidate.key] = value
        if trial is None or not self._close(trial, candidate.family, candidate.genome, value):
            asked = trial.params if trial is not None else {}
            self._add({**asked, **self._as_parameters(candidate.family, candidate.genome)}, value)

    def _close(self, trial: optuna.Trial, family: str, genome: Genome, value: float | None) -> bool:
        """Finishes a trial. It gets the value only if its own genes were tried, or for a population-based sampler."""
        tried = self._as_parameters(family, genome)
        if value is None or (self._name in MODEL_BASED and not tried.items() <= trial.params.items()):
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            return False
        self._study.tell(trial, value)
        return True

    def _genome(self, trial: optuna.Trial) -> tuple[str, Genome]:
        family = str(self._suggest(trial, "family", sorted(self._spaces)))
        raw: dict[str, Gene] = {}
        for name in sorted(self._spaces) if self._name != "tpe" else [family]:
            for parameter, declared in self._spaces[name].parameters.items():
                value = self._suggest(trial, f"{name}.{parameter}", declared.values)
                if name == family:
                    raw[parameter] = value
        return family, self._spaces[family].repair(raw, self._rng)

    def _suggest(self, trial: optuna.Trial, name: str, values: Any) -> Any:
        if self._name == "cmaes":
            return values[trial.suggest_int(name, 0, len(values) - 1)]
        return trial.suggest_categorical(name, values)

    def _as_parameters(self, family: str, genome: Genome) -> dict[str, Any]:
        families = sorted(self._spaces)
        parameters: dict[str, Any] = {"family": families.index(family) if self._name == "cmaes" else family}
        for name, gene in genome.items():
            values = self._spaces[family].parameters[name].values
            parameters[f"{family}.{name}"] = values.index(gene) if self._name == "cmaes" else gene
        return parameters

    def _add(self, parameters: dict[str, Any], value: float) -> None:
        """Adds a finished trial with these parameters."""
        choices = {"family": sorted(self._spaces)} | {
            f"{family}.{name}": declared.values
            for family, space in self._spaces.items()
            for name, declared in space.parameters.items()
        }
        distributions: dict[str, Any] = {
            name: self._optuna.distributions.IntDistribution(0, len(choices[name]) - 1)
            if self._name == "cmaes"
            else self._optuna.distributions.CategoricalDistribution(choices[name])
            for name in parameters
        }
        self._study.add_trial(
            self._optuna.trial.create_trial(params=parameters, distributions=distributions, value=value)
        )


def _sampler(optuna: Any, name: str, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, with_margin=True, warn_independent_sampling=False)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
    raise unknown("sampler", name, SAMPLERS)
