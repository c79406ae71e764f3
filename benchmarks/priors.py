"""Fits the priors of families to recorded spaces, and measures what a prior brings on spaces that it was not fitted to.

    python benchmarks/priors.py fit docs/results/spaces/*.t4.json.gz --out search_spaces/priors
    python benchmarks/priors.py measure docs/results/spaces/h200-{bert,d128_1k}.t4.json.gz --repeats 20
    python benchmarks/priors.py search medium b=2,h=8,s=384,d=64 --family mma --family split --out priors.json

`fit` writes a file for each family. `measure` replays the default strategy on each space, without a prior and with one
that is fitted to the others, and prints the fraction of the optimum after some evaluations: means over the seeds, and
the mean difference over all runs with a 95 % interval. --window: proposals in flight, as in a search.

`search` searches shapes for real, without seeds and finals, with each seed twice in turn: with the shipped priors and
without. Prints the best times after some candidates, and how much faster the ones with priors are, geometric means over
all pairs with a 95 % interval. --within: no pair is begun after so many seconds. The file is written anew after each
pair, and a pair that is in it is not searched again.
"""

import argparse
import dataclasses
import json
import math
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from transfer import best_at, found, interval, searched, without_seeds

from evoflash import resources
from evoflash.replay import Recording, simulate
from evoflash.replay.formats import read
from evoflash.replay.priors import fitted

MARKS = (10, 25, 50, 100)


def main() -> None:
    """Fits or measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit")
    fit.add_argument("spaces", nargs="+", type=Path)
    fit.add_argument("--out", type=Path, required=True, help="the folder of the priors")
    measure = commands.add_parser("measure")
    measure.add_argument("spaces", nargs="+", type=Path)
    measure.add_argument("--repeats", type=int, default=20)
    measure.add_argument("--window", type=int, default=1)
    measure.add_argument("--strategy", default="evolution")
    search = commands.add_parser("search")
    search.add_argument("shapes", nargs="+")
    search.add_argument("--family", action="append", default=[])
    search.add_argument("--candidates", type=int, default=60)
    search.add_argument("--seeds", type=int, default=2)
    search.add_argument("--target", default="auto")
    search.add_argument("--within", type=float, default=math.inf, help="seconds")
    search.add_argument("--out", type=Path, required=True, help="the JSON file")
    arguments = parser.parse_args()
    if arguments.command == "search":
        search_pairs(arguments)
        return
    recordings = [read(path, None, None) for path in arguments.spaces]
    if arguments.command == "fit":
        write(recordings, arguments.out)
    else:
        table(recordings, arguments.strategy, arguments.repeats, arguments.window)


def write(recordings: list[Recording], folder: Path) -> None:
    """A file for each family, with its effects in the order of the declared values."""
    folder.mkdir(parents=True, exist_ok=True)
    for family in sorted({family for each in recordings for family in each.spaces}):
        prior = fitted(family, recordings)
        lines = [
            "# Powers of two of the time, fitted by benchmarks/priors.py: the effects of values, against the mean.",
            yaml.safe_dump({"recorded": list(prior.recorded)}, default_flow_style=None).rstrip(),
            "effects:",
            *(f"  {name}: {_flow(effects)}" for name, effects in prior.effects.items()),
        ]
        (folder / f"{family}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{folder / family}.yaml: {sum(map(len, prior.effects.values()))} values")


def _flow(effects: dict) -> str:
    return yaml.safe_dump(effects, default_flow_style=True, sort_keys=False, width=1000).strip()


def table(recordings: list[Recording], strategy: str, repeats: int, window: int) -> None:
    """The runs without a prior and with one, paired by space and seed."""
    print(f"{'space':24} {'prior':9} " + " ".join(f"{f'@{mark}':>6}" for mark in MARKS))
    gains = []
    for recording in recordings:
        others = [each for each in recordings if each is not recording]
        sides = [runs(each, strategy, repeats, window) for each in (recording, with_priors(recording, others))]
        for name, side in zip(("none", "of others"), sides, strict=True):
            print(f"{recording.name:24} {name:9} " + " ".join(f"{each:6.3f}" for each in side.mean(axis=0)))
        gains.append(sides[1] - sides[0])
    differences = np.concatenate(gains)
    half = 1.96 * differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
    for mark, mean, width in zip(MARKS, differences.mean(axis=0), half, strict=True):
        print(f"@{mark}: {mean:+.3f} ± {width:.3f} over {len(differences)} runs")


def with_priors(recording: Recording, others: list[Recording]) -> Recording:
    """The recording, whose families have priors that are fitted to others."""
    spaces = {}
    for family, space in recording.spaces.items():
        spaces[family] = space.expecting(fitted(family, others))
    return dataclasses.replace(recording, spaces=spaces)


def runs(recording: Recording, strategy: str, repeats: int, window: int) -> np.ndarray:
    """Fractions of the optimum after `MARKS` evaluations; shape (repeats, marks)."""
    traces = [simulate(strategy, recording, seed, MARKS[-1], window) for seed in range(repeats)]
    return np.array([[recording.optimum_us / trace.best_us[mark - 1] for mark in MARKS] for trace in traces])


def search_pairs(arguments: argparse.Namespace) -> None:
    """Searches of each shape and seed, with priors and without."""
    began = time.monotonic()
    pairs = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else []
    done = {(each["shape"], each["seed"]) for each in pairs}
    with tempfile.TemporaryDirectory() as folder:
        templates = without_seeds(Path(folder))
        for root in resources.roots(()):
            if (root / "search_spaces" / "priors").is_dir():
                shutil.copytree(root / "search_spaces" / "priors", templates / "search_spaces" / "priors")
        for seed in range(arguments.seeds):
            for shape in arguments.shapes:
                if (shape, seed) in done or time.monotonic() - began > arguments.within:
                    continue
                pair = {"shape": shape, "seed": seed, "families": arguments.family}
                for name, strategy in (("with", "evolution"), ("without", "evolution:prior=0")):
                    db = f"{folder}/{len(pairs)}-{name}.db"
                    common = {"family": arguments.family, "target": arguments.target, "templates": [templates]}
                    request = {"shape": [shape], "seed": seed, "budget": arguments.candidates, "strategy": strategy}
                    number = searched({**common, **request, "warm_start": "none"}, db)
                    pair[name] = found(db, number, number)
                pairs.append(pair)
                arguments.out.write_text(json.dumps(pairs, indent=1) + "\n", encoding="utf-8")
    pair_table(pairs)


def pair_table(pairs: list[dict]) -> None:
    """The best times after `MARKS` candidates, and their ratios."""
    gains = {mark: [] for mark in MARKS}
    for pair in pairs:
        shown = []
        for mark in MARKS:
            ours, other = (best_at(pair[name], mark) for name in ("with", "without"))
            shown.append(f"{ours or math.nan:8.2f} {other or math.nan:8.2f}")
            if ours and other:
                gains[mark].append(other / ours)
        print(f"{pair['shape']:28} seed {pair['seed']}  " + "  ".join(shown))
    for mark, own in gains.items():
        mean, low, high = interval(own)
        print(f"after {mark} candidates: {mean:.3f}x [{low:.3f}, {high:.3f}] as fast with priors, {len(own)} pairs")


if __name__ == "__main__":
    main()
