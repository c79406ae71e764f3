"""What `--patience` saves and costs on recorded spaces, as a table: one replay of `evolution` serves all thresholds.

    python benchmarks/patience.py space.csv.gz … --repeats 25 --evaluations 200

Of each threshold: the share of the evaluations that it saves, how much slower the best is than at the end of the budget
(mean over runs, and the share of runs that lose no more than 0.5 %), and the evaluations saved by space.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

from evoflash import proposers
from evoflash.core.archive import Archive
from evoflash.replay.formats import read
from evoflash.run.stopping import EarlyStopping

THRESHOLDS = (5.0, 2.0, 1.0, 0.5, 0.2)
NOTHING = 0.005  # a loss that is no more than noise

Stops = Mapping[float, tuple[int, float]]  # threshold -> evaluations at the stop, slowdown of the best there


def replay(path: Path, seed: int, evaluations: int) -> Stops:
    """One run to the end of its budget, and where each threshold would have ended it."""
    recording = read(path)
    proposer, archive = proposers.create("evolution", recording.spaces, seed), Archive()
    followed = {percent: EarlyStopping(percent) for percent in THRESHOLDS}
    stopped: dict[float, tuple[int, float]] = {}
    while len(archive) < evaluations and (proposal := proposer.ask(archive)) is not None:
        archive.propose(proposal.family, proposal.genome)
        result = recording.results[proposal.family, proposal.genome.digest]
        member = archive.add(proposal.numbered(len(archive)), result)
        proposer.tell(member)
        for percent, patience in followed.items():
            patience.tell(member, proposer)
            if patience.is_over and percent not in stopped and archive.best is not None:
                stopped[percent] = (len(archive), archive.best.fitness_us)
    assert archive.best is not None, f"nothing is right in {path}"
    last = (len(archive), archive.best.fitness_us)
    reached = {percent: stopped.get(percent, last) for percent in THRESHOLDS}
    return {percent: (count, best_us / last[1] - 1) for percent, (count, best_us) in reached.items()}


def rows(runs: Mapping[str, list[Stops]], evaluations: int) -> Iterator[str]:
    """The table, a threshold a line."""
    for percent in THRESHOLDS:
        stops = {space: [stop[percent] for stop in own] for space, own in runs.items()}
        every = [stop for own in stops.values() for stop in own]
        saved = {space: 1 - mean(count for count, _ in own) / evaluations for space, own in stops.items()}
        losses = [loss for _, loss in every]
        told = ", ".join(f"{space} {share:.0%}" for space, share in saved.items())
        yield (
            f"{percent:g} %: saved {mean(saved.values()):.0%}, loss {mean(losses):.2%}, "
            f"nothing lost in {mean(loss <= NOTHING for loss in losses):.0%} of {len(every)} runs ({told})"
        )


def main() -> None:
    """Replays and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    runs: dict[str, list[Stops]] = defaultdict(list)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        laps = {
            (path, seed): pool.submit(replay, path, seed, arguments.evaluations)
            for path in arguments.spaces
            for seed in range(arguments.repeats)
        }
        for (path, _), lap in laps.items():
            runs[path.name.partition(".")[0]].append(lap.result())
    print("\n".join(rows(runs, arguments.evaluations)))


if __name__ == "__main__":
    main()
