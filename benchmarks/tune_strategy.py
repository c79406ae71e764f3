"""Chooses settings of the default strategy by leaving spaces out; evoflash itself searches the settings.

    python benchmarks/tune_strategy.py *.csv.gz synthetic:100-111 --settings 12

The settings below are a search space. Its candidates are proposed by `evolution`, and their fitness is the mean score
of replays over all spaces, each with the same seeds (`--repeats`, default 1, of `--evaluations`, default 100). The
first candidate is the default. With 6 recorded and 12 synthetic spaces, 12 settings take 216 replays, which are minutes
on one core.

Prints each setting that was tried with its score and its difference from the default, paired by space and seed, with a
95 % interval. Then the score that the choice has on spaces that it was not made on: each space is left out in turn, the
settings with the best score on the others are chosen, and they are scored on it.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from evoflash import proposers
from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.proposers.evolution import Settings
from evoflash.replay import Recording, simulate
from evoflash.replay.formats import read
from evoflash.replay.measures import run_score
from evoflash.replay.synthetic import seeds_of, synthetic
from evoflash.space.declaration import Declaration
from evoflash.space.parameter import Parameter
from evoflash.space.search_space import SearchSpace

FAMILY = "settings"
CHOICES: Mapping[str, tuple[float | int, ...]] = {
    "starters": (4, 6, 8, 12, 16),
    "unfiltered": (0.0, 0.1, 0.15, 0.25, 0.4),
    "pool": (150, 300, 600),
    "process": (0.5, 0.65, 0.8, 0.9, 1.0),
    "growth": (0.03, 0.06, 0.12),
    "sweep": (0, 40, 60, 100),
}


def settings_space() -> SearchSpace:
    """The settings as a search space of one family."""
    parameters = {name: Parameter(kind="ordinal", values=values) for name, values in CHOICES.items()}
    return SearchSpace(Declaration(family=FAMILY, parameters=parameters), [{}], {})


def strategy(genome: Genome) -> str:
    """The name of the default strategy with these settings."""
    return ":".join(["evolution", *(f"{name}={value}" for name, value in genome.items())])


def scores(name: str, spaces: Sequence[Recording], repeats: int, evaluations: int) -> np.ndarray:
    """Scores of a strategy; shape (spaces, repeats)."""
    return np.array(
        [[run_score(simulate(name, each, seed, evaluations), each) for seed in range(repeats)] for each in spaces]
    )


def fitness(score: float) -> Evaluation:
    """A score as a result of a search, which minimises times: a higher score is a smaller time."""
    time_us = float(np.exp(-score))
    timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1)
    return Evaluation(status=Status.OK, stage=Stage.FULL, timings=(timing,))


def search(spaces: Sequence[Recording], settings: int, repeats: int, evaluations: int) -> dict[str, np.ndarray]:
    """Scores by strategy, the default first."""
    space, archive, found = settings_space(), Archive(), {}
    defaults = Settings()
    default = Genome({name: type(values[0])(getattr(defaults, name)) for name, values in CHOICES.items()})
    proposer = proposers.create("evolution", {FAMILY: space}, 0)
    proposal: Proposal | None = Proposal(FAMILY, default, "seed")
    while proposal is not None and len(found) < settings:
        archive.propose(proposal.family, proposal.genome)
        name = strategy(proposal.genome)
        found[name] = scores(name, spaces, repeats, evaluations)
        print(f"{found[name].mean():.3f} {name}", file=sys.stderr, flush=True)
        proposer.tell(archive.add(proposal.numbered(len(archive)), fitness(float(found[name].mean()))))
        proposal = proposer.ask(archive)
    return found


def left_out(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Scores on each space of the settings that are the best on the others; shape (spaces, repeats)."""
    table = np.stack(list(found.values()))  # (settings, spaces, repeats)
    count = table.shape[1]
    chosen = [
        table[:, [other for other in range(count) if other != each]].mean(axis=(1, 2)).argmax() for each in range(count)
    ]
    return np.stack([table[best, each] for each, best in enumerate(chosen)])


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """The mean difference with a 95 % interval over the spaces."""
    by_space = (one - other).mean(axis=1)
    half = 1.96 * by_space.std(ddof=1) / np.sqrt(len(by_space)) if len(by_space) > 1 else float("nan")
    return f"{by_space.mean():+.3f} ± {half:.3f}"


def rows(found: Mapping[str, np.ndarray]) -> Iterator[str]:
    """The table, best settings first, and what the choice is worth on spaces that it was not made on."""
    default = next(iter(found.values()))
    for name, own in sorted(found.items(), key=lambda pair: -pair[1].mean()):
        yield f"{own.mean():.3f}  {'default        ' if own is default else difference(own, default)}  {name}"
    chosen = left_out(found)
    yield f"default: {default.mean():.3f}"
    yield f"chosen with each space left out: {chosen.mean():.3f} ({difference(chosen, default)})"


def load(words: Sequence[str]) -> list[Recording]:
    """The spaces of files and of words such as synthetic:100-111."""
    loaded: list[Recording] = []
    for word in words:
        seeds = seeds_of(word)
        loaded += [read(Path(word))] if seeds is None else map(synthetic, seeds)
    return loaded


def main() -> None:
    """Searches and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+", help="files, and synthetic:SEED or synthetic:FIRST-LAST")
    parser.add_argument("--settings", type=int, default=12, help="settings to try, the default among them")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=100)
    arguments = parser.parse_args()
    found = search(load(arguments.spaces), arguments.settings, arguments.repeats, arguments.evaluations)
    print("\n".join(rows(found)))


if __name__ == "__main__":
    main()
