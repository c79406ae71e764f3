"""What a warm start brings: searches that begin with the best genomes of a run on another shape, or of another device.

    python benchmarks/transfer.py large bert b=1,h=8,s=384,d=64 --source mission --db runs.db --out transfer.json
    python benchmarks/transfer.py mission large bert --run 12 --db of_another_card.db --out transfer.json

Each shape is searched twice with each seed, with --candidates candidates: once from a run on record (--run, or one that
is made first on the shape --source), once from nothing. No space has its own seeds, or both would begin with what is
known of shapes nearby. There are no finals: the times are those of the search.

Prints a row for each shape: how far it is from the run's, in doublings of its sizes, and how much faster the best of
the warm start is after 10 candidates and after all. The last row has the geometric means, each with a 95 % interval by
resampling the shapes. --within: no search is begun after so many seconds. The file is written anew after each search,
and a search that is in it is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evoflash import resources
from evoflash.api.request import SearchRequest
from evoflash.core.status import Status
from evoflash.plugins import problem_from_dict
from evoflash.progress import SilentProgress
from evoflash.run import warm_start
from evoflash.store import RunStore

EARLY = 10  # candidates
RESAMPLES = 2000


def main() -> int:
    """0 when every search found something right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", metavar="SHAPE")
    parser.add_argument("--db", required=True, help="of the run to begin with")
    parser.add_argument("--run", type=int, help="the run to begin with; default: one that is made first")
    parser.add_argument("--source", default="mission", help="its shape, where it is made first")
    parser.add_argument("--source-candidates", type=int, default=200)
    parser.add_argument("--family", action="append", default=[], help="only these; repeatable")
    parser.add_argument("--candidates", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--target", default="auto")
    parser.add_argument("--cache", type=Path, default=Path("runs/builds"))
    parser.add_argument("--within", type=float, default=math.inf, help="seconds")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    arguments = parser.parse_args()

    began = time.monotonic()
    known: dict[str, Any] = {"searches": []}
    if arguments.out.exists():
        known = json.loads(arguments.out.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "family": arguments.family,
            "target": arguments.target,
            "cache": arguments.cache,
            "templates": [without_seeds(Path(folder))],
        }
        run = arguments.run or known.get("run")
        if run is None:
            request = {"shape": [arguments.source], "budget": arguments.source_candidates, "warm_start": "none"}
            run = searched({**common, **request}, arguments.db)
        known |= {"run": run, "candidates": arguments.candidates, **facts(arguments.db, run)}
        done = {(each["shape"], each["seed"], each["warm"]) for each in known["searches"]}
        for shape in arguments.shapes:
            for seed in range(arguments.seeds):
                for warm in (True, False):
                    if (shape, seed, warm) in done or time.monotonic() - began > arguments.within:
                        continue
                    copy = f"{folder}/{len(known['searches'])}.db"
                    shutil.copy(arguments.db, copy)  # so that no search knows of another one
                    request = {"shape": [shape], "seed": seed, "budget": arguments.candidates}
                    number = searched({**common, **request, "warm_start": str(run) if warm else "none"}, copy)
                    known["searches"].append({"shape": shape, "seed": seed, "warm": warm, **found(copy, number, run)})
                    arguments.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return int(not table(known))


def without_seeds(folder: Path) -> Path:
    """A folder of --templates in which the shipped spaces have no seeds."""
    spaces = folder / "search_spaces"
    spaces.mkdir()
    for root in resources.roots(()):
        for path in (root / "search_spaces").glob("*.yaml"):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            (spaces / path.name).write_text(yaml.safe_dump({**content, "seeds": []}, sort_keys=False), encoding="utf-8")
    return folder


def searched(options: dict[str, Any], db: str) -> int:
    """Runs a search; its number."""
    prepared = SearchRequest(**options, db=db, baseline=["none"], minutes=60.0).prepare()
    with prepared.database() as store:
        engine = prepared.search(store, SilentProgress())
        engine._finals = lambda task: None  # it ends with its last candidate
        (outcome,) = engine.run()
    return outcome.run_id


def facts(db: str, run: int) -> dict[str, Any]:
    """What the run to begin with was of, and where."""
    with RunStore.open(db) as store:
        summary = store.run(run)
    return {"of": summary.problem_label, "on": summary.machine.get("device"), "best_us": summary.best_us}


def found(db: str, number: int, run: int) -> dict[str, Any]:
    """How a search went: the best time after each candidate, in the order of proposal."""
    with RunStore.open(db) as store:
        outcomes = sorted(store.outcomes(number), key=lambda each: each.index)
        summary, source = store.run(number), store.run(run)
    times = [each.fitness_us if each.status == Status.OK else None for each in outcomes]
    bests = list(np.minimum.accumulate([math.inf if each is None else each for each in times]))
    likeness = [problem_from_dict(each.problem).likeness() for each in (summary, source)]
    return {
        "label": summary.problem_label,
        "device": summary.machine.get("device"),
        "distance": round(warm_start.distance(*likeness), 2),
        "best_us": [None if math.isinf(each) else round(float(each), 4) for each in bests],
    }


def table(known: dict[str, Any]) -> bool:
    """Prints what was found; whether every search found something right."""
    searches = known["searches"]
    last = known["candidates"]
    marks = (min(EARLY, last), last)
    print(f"from run {known['run']}: {known['of']} on {known['on']}, best {known['best_us']:.2f} us")
    print(f"{'shape':32} {'away':>5} {'warm, us':>9} {'cold, us':>9} " + " ".join(f"x @{mark:<4}" for mark in marks))
    rows, complete = [], True
    for shape in dict.fromkeys(each["shape"] for each in searches):
        own = [each for each in searches if each["shape"] == shape]
        sides = {
            warm: [[best_at(each, mark) for mark in marks] for each in own if each["warm"] == warm]
            for warm in (True, False)
        }
        complete &= all(time is not None for side in sides.values() for each in side for time in each)
        if not sides[True] or not sides[False]:
            continue
        warm, cold = (np.array([[t or math.inf for t in each] for each in sides[key]]) for key in (True, False))
        gain = [gain_of(warm[:, place], cold[:, place]) for place in range(len(marks))]
        rows.append(gain)
        shown = " ".join("   -  " if each is None else f"{each:6.3f}" for each in gain)
        print(
            f"{shape:32} {own[0]['distance']:5.1f} {np.median(warm[:, -1]):9.2f} {np.median(cold[:, -1]):9.2f} {shown}"
        )
    means = [interval([row[place] for row in rows if row[place] is not None]) for place in range(len(marks))]
    for mark, (mean, low, high) in zip(marks, means, strict=True):
        print(f"after {mark} candidates: warm is {mean:.3f}x [{low:.3f}, {high:.3f}] as fast, over {len(rows)} shapes")
    return complete


def best_at(search: dict[str, Any], mark: int) -> float | None:
    """The best time after so many candidates."""
    return search["best_us"][min(mark, len(search["best_us"])) - 1] if search["best_us"] else None


def gain_of(warm: np.ndarray, cold: np.ndarray) -> float | None:
    """How much faster the warm searches are: the ratio of geometric means; None where something found nothing."""
    if np.isinf(warm).any() or np.isinf(cold).any():
        return None
    return float(np.exp(np.log(cold).mean() - np.log(warm).mean()))


def interval(gains: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean, and its 95 % interval by resampling the shapes."""
    if not gains:
        return math.nan, math.nan, math.nan
    logs, rng = np.log(gains), np.random.default_rng(0)
    means = logs[rng.integers(len(logs), size=(RESAMPLES, len(logs)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


if __name__ == "__main__":
    raise SystemExit(main())
