"""How many candidates a minute a search gets through, and what bounds it.

    python benchmarks/throughput.py --shape mission --budget 500

runs a search from an empty cache into a temporary folder, and prints candidates a minute and the share of the time in
which the builders, the device, the slowest of the two, and the driver were busy. A report, not a test: the numbers are
this machine's.
"""

import argparse
import json
import tempfile
from pathlib import Path

from evoflash import config, targets
from evoflash.codegen.toolchain import Toolchain
from evoflash.evaluator import Limits
from evoflash.problems import attention
from evoflash.report.live import Counts, progress_of
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.run.plan import Plan, choose_families
from evoflash.search import Search
from evoflash.store import RunStore


def main() -> None:
    """Runs one search and prints its throughput as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--jobs", type=int)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        settings = config.load(db=f"{folder}/evoflash.db", cache=Path(folder) / "builds", jobs=arguments.jobs)
        problem = attention.parse(arguments.shape)
        target = targets.detect(settings.target)
        plan = Plan.make(
            {arguments.shape: problem},
            target,
            config.effort("standard", target.name, budget=arguments.budget, minutes=60.0),
            settings,
            effort_name="standard",
            families=choose_families([problem], target, tuple(arguments.family), settings.templates),
            strategy=arguments.strategy,
            seed=0,
            limits=Limits(),
        )
        toolchain = Toolchain(target, settings.cache, settings.build_deadline_s)
        counts = Counts(plan.effort.budget, plan.effort.minutes, plan.title)
        with RunStore.open(settings.db, write=True) as store, progress_of(counts) as progress:
            engine = Search([plan], target, LocalScheduler([plan], [target], toolchain), store, progress)
            counts.watch(lambda: engine.work)
            (outcome,) = engine.run()
    print(json.dumps({"device": target.device, "builders": plan.builders, **outcome.throughput.model_dump()}))


if __name__ == "__main__":
    main()
