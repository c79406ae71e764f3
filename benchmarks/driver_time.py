"""What a candidate costs the driver itself, where builds and examinations take no time.

    python benchmarks/driver_time.py --strategy random

searches the tests' family `tiny` on one device that is made up, and prints the milliseconds of processor time of a
candidate: of the process, and of the driver's thread. With an earlier tree unpacked beside this one,
`cd EARLIER && PYTHONPATH=$PWD python HERE/benchmarks/driver_time.py` says what a change has cost; take turns, since
the numbers are this machine's.
"""

import argparse
import tempfile
import time

from evoflash import targets
from evoflash.store import RunStore
from tests.helpers import TINY, Quiet, plan
from tests.made_up import MadeUpToolchain, made_up_search


def main() -> None:
    """Prints the milliseconds of process and driver, and how many candidates there were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--strategy", default="random")
    arguments = parser.parse_args()
    target = targets.detect("cpu")
    changes = {"budget": arguments.budget, "strategy": arguments.strategy, "window": 60, "builders": 8}
    with tempfile.TemporaryDirectory() as folder, RunStore.open(f"{folder}/runs.db", write=True) as store:
        search = made_up_search([plan(target, "tiny", TINY, **changes)], target, MadeUpToolchain(), store, Quiet())
        process_s, thread_s = time.process_time(), time.thread_time()
        (outcome,) = search.run()
        process_s, thread_s = time.process_time() - process_s, time.thread_time() - thread_s
        count = store.run(outcome.run_id).candidates
    print(f"process {1e3 * process_s / count:.3f} ms, driver {1e3 * thread_s / count:.3f} ms, {count} candidates")


if __name__ == "__main__":
    main()
