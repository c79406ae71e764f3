"""Kernel Tuner's strategies on the spaces of a replay, by the same measures.

    evoflash replay synthetic:7000-7199 --repeats 1 --strategy evolution,tpe,nsga2,random --out replayed
    python benchmarks/other_tuners.py synthetic:7000-7199 --strategy adaptive_tabu_greywolf --traces replayed

Kernel Tuner (1.5) simulates each space from a cache that is written from it, with its defaults but for the number of
evaluations, and with the seeds of the replay; runs that --traces has are not run again. Each genome that it evaluated,
failures included, counts once, as in a replay, and its runs are added to the folder of --traces. Prints the table of
`evoflash replay` over all strategies, tests paired against the first.

Kernel Tuner is no dependency of evoflash: install it beside evoflash, in an environment of its own. Searchspaces of
1.5.0 keep neighbours as arrays where they append to lists later, on which the strategy ends with an AttributeError;
here they are lists.
"""

import argparse
import contextlib
import json
import math
import tempfile
from pathlib import Path

from evoflash.cli.replay import recordings
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.replay import Recording, Trace, standing
from evoflash.replay.formats.kernel_tuner import document
from evoflash.replay.race import Log, Race
from evoflash.report.replay_sheets import replay_sheets
from evoflash.report.tables import print_sheets


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+")
    parser.add_argument("--strategy", default="adaptive_tabu_greywolf", help="of Kernel Tuner; several by commas")
    parser.add_argument("--beside", default="evolution,tpe,nsga2,random", help="strategies that --traces has")
    parser.add_argument("--traces", type=Path, required=True, help="the folder of `evoflash replay --out`")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=200)
    arguments = parser.parse_args()
    recorded = recordings(arguments.spaces, None, None, None)
    beside, others = arguments.beside.split(","), arguments.strategy.split(",")
    race = Race((*beside, *others), recorded, arguments.repeats, arguments.evaluations)
    log = Log(arguments.traces, race)
    known = log.known()
    for lap in race.laps:
        if lap not in known:
            if lap.strategy in beside:
                parser.error(f"{arguments.traces} has no run of {lap.strategy} on {lap.space}; replay it first")
            known[lap] = simulate(lap.strategy, recorded[lap.space], lap.seed, arguments.evaluations)
            log.append(known[lap])
    by_name = {name: [trace for lap, trace in known.items() if lap.strategy == name] for name in race.strategies}
    first = by_name[beside[0]]
    standings = [standing(own, recorded, first if own is not first else ()) for own in by_name.values()]
    print_sheets(*replay_sheets(standings, arguments.evaluations))


def simulate(strategy: str, recording: Recording, seed: int, evaluations: int) -> Trace:
    """A run of Kernel Tuner, as a replay would have it."""
    from kernel_tuner.interface import tune_cache

    mend()
    ((family, space),) = recording.spaces.items()
    values = {name: each.values for name, each in space.parameters.items()}
    results = [(genome, recording.results[family, genome.digest]) for genome in space.genomes()]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        path = Path(folder) / "cache.json"
        path.write_text(json.dumps(document(family, recording.name, values, results)), encoding="utf-8")
        options = {"max_fevals": evaluations}
        tuned, _ = tune_cache(str(path), strategy=strategy, strategy_options=options, seed=seed, quiet=True)
    best, curve, seconds, spent = math.inf, [], [], 0.0
    genomes = dict.fromkeys(Genome({name: entry[name] for name in values}) for entry in tuned)  # it lists repeats, too
    for genome in list(genomes)[:evaluations]:
        result = recording.results[family, genome.digest]
        if result.status is Status.OK and result.fitness_us is not None:
            best = min(best, result.fitness_us)
        spent += result.spent_seconds
        curve.append(best)
        seconds.append(spent)
    missing = evaluations - len(curve)
    return Trace(
        strategy,
        recording.name,
        seed,
        (*curve, *[best] * missing),
        ("simulated",) * len(curve),
        math.nan,
        (*seconds, *[spent] * missing),
    )


def mend() -> None:
    """Neighbours as lists; see above."""
    from kernel_tuner.searchspace import Searchspace

    found = Searchspace.get_neighbors_indices_no_cache
    if not hasattr(found, "mended"):

        def listed(*arguments, **more):
            return [int(each) for each in found(*arguments, **more)]

        listed.mended = True
        Searchspace.get_neighbors_indices_no_cache = listed


if __name__ == "__main__":
    main()
