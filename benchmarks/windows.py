"""What wide windows cost a search: the best that is found after so many evaluations, by proposals in flight.

    python benchmarks/windows.py SPACES… --windows 1 60 240 960 --evaluations 100 200 400 800 --repeats 3

replays recorded spaces. A search keeps about 60 proposals in flight for each GPU, and a candidate is proposed when all
but the last `window` before it are known: with a wide window, proposals know less. Prints, for each window, the mean
over spaces and seeds of the fraction of the optimum (1 is the best) after so many evaluations. N devices have N times
as many evaluations in the same time, so the row of a wide window is to be read further to the right.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from pathlib import Path

from evoflash.replay.formats.reading import read
from evoflash.replay.simulation import simulate


def main() -> None:
    """Prints the table anew after each space, so that it can be stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 60, 240, 960])
    parser.add_argument("--evaluations", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--strategy", default="evolution")
    arguments = parser.parse_args()

    recordings = [read(path) for path in arguments.spaces]
    found: dict[int, list[list[float]]] = defaultdict(list)  # by window, the fractions after each number of evaluations
    for seed in range(arguments.repeats):
        for recording in recordings:
            for window in arguments.windows:
                trace = simulate(arguments.strategy, recording, seed, max(arguments.evaluations), window)
                bests = [trace.best_us[count - 1] for count in arguments.evaluations]
                found[window].append([recording.optimum_us / best if math.isfinite(best) else 0.0 for best in bests])
            _print(found, arguments.evaluations)


def _print(found: dict[int, list[list[float]]], evaluations: list[int]) -> None:
    print("window " + "".join(f"{f'@{count}':>9}" for count in evaluations) + f"{'runs':>7}")
    for window, fractions in found.items():
        means = [statistics.fmean(column) for column in zip(*fractions, strict=True)]
        print(f"{window:>6} " + "".join(f"{mean:>9.4f}" for mean in means) + f"{len(fractions):>7}", flush=True)


if __name__ == "__main__":
    main()
