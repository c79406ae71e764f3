"""A long search, and what must not grow, break or change under it.

    python benchmarks/soak.py --budget 2000
    python benchmarks/soak.py --target cuda --devices all --budget 10000 --faults 100 --minutes 9 --out gpu-soak.json
    python benchmarks/soak.py --target cpu --budget 2000 --busy 2 --family soak --out cpu-soak.json

searches tiny kernels, of which thousands differ and each builds fast. `--faults N` makes one in N candidates hang,
crash or use an illegal address, in turn. The memory and open files of driver and workers, and the memory of the GPUs,
must stay flat, every fault must get its verdict and no other candidate one, and nothing may be left at the end.

With `--busy N` it is a search beside N busy loops, of the shipped families unless `--family` says otherwise. When it is
over they end, and the winner is timed again on the quiet machine: its time of the finals must be within 3 % of that. A
kernel of the shipped families takes seconds to build, so 2,000 of them take hours on two busy cores.

Ends with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from faults import Injector, Tally
from soak_report import BAR, failures, table
from stopwatch import timed
from vitals import QUARTERS, Watch, judge, quarters, series, within_lives

from evoflash import config, targets
from evoflash.bench.bench import Bench, Effort
from evoflash.bench.entrants import of_candidate
from evoflash.codegen.build_cache import BUILDING
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.statistics import BOOTSTRAPS
from evoflash.errors import EvoflashError
from evoflash.evaluator import Limits
from evoflash.evaluator.sandbox import Sandbox
from evoflash.problems import attention
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.run.plan import Plan, choose_families
from evoflash.search import Search
from evoflash.store import RunStore
from evoflash.system import processes
from evoflash.targets import Target

TINY, SMALL = "b=1,h=2,s=32,d=16,dtype=fp32", "b=1,h=2,s=256,d=64,dtype=fp32"
FOLDER = Path(__file__).with_name("soak_family")
FAMILIES = {"cpu": "soak", "cuda": "soak_cuda"}
HANG_S = 3.0  # a hang costs its deadline; other evaluations of tiny kernels take milliseconds, in a new worker a second
OUTLIVE = ("evoflash.system.reaper", "evoflash.system.fork_server")  # a search, and serve the next of this process
START_MS = 50.0  # what `Sandbox.start` takes more than if it starts a worker
SESSIONS, ROUNDS = 3, 100  # of the quiet measurement: fresh workers, and rounds of each


class Follower:
    """A progress that counts."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.tally = Tally()
        self.statuses: Counter[str] = Counter()

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """Nothing."""

    def update(self, building: int, examining: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Passes it on."""
        print(text, file=sys.stderr)

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Counts it."""
        assert self.watch is not None
        self.watch.candidates += 1
        self.statuses[evaluation.status] += 1
        self.tally.add(candidate, evaluation)
        if self.watch.candidates % 100 == 0:
            print(f"{self.watch.candidates} candidates", file=sys.stderr)


def plan_of(arguments: argparse.Namespace, target: Target, folder: Path) -> tuple[Plan, config.Settings]:
    """The search. Beside busy loops finals are those of a user's search."""
    own = is_own(arguments)
    shape = arguments.shape or (TINY if own else SMALL)
    settings = config.load(
        db=str(folder / "runs.db"),
        cache=folder / "builds",
        templates=[FOLDER] if own else [],
        evaluate_deadline_s=HANG_S if arguments.faults else None,
    )
    effort = config.effort("standard", target.name, budget=arguments.budget, minutes=arguments.minutes)
    if own:
        effort = effort.model_copy(update={"samples": 10, "quick_samples": 3})
    if not arguments.busy:
        effort = effort.model_copy(update={"finalists": 2, "rounds": 5})
    problem = attention.parse(shape)
    plan = Plan.make(
        {shape: problem},
        target,
        effort,
        settings,
        effort_name="soak",
        families=choose_families(
            [problem], target, (FAMILIES[target.name],) if own else arguments.family, settings.templates
        ),
        strategy="evolution",
        seed=0,
        limits=Limits(),
    )
    return plan, settings


def is_own(arguments: argparse.Namespace) -> bool:
    """Whether the soak's own family is searched."""
    return FAMILIES[arguments.target] in arguments.family or not (arguments.family or arguments.busy)


def soak(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The search, and what was seen of it; an error that ended it is a part of that."""
    devices, words = targets.detect_all(arguments.target, arguments.devices)
    target = devices[0]
    if words:
        print(words, file=sys.stderr)
    plan, settings = plan_of(arguments, target, folder)
    toolchain, follower = Toolchain(target, settings.cache), Follower()
    asks, records, starts = [], [], []
    ask = EvolutionProposer.ask
    if arguments.faults:
        ask = Injector(arguments.faults).wrapped(ask)
    files = temporary_files()
    error, outcome, again = "", None, None
    with RunStore.open(settings.db, write=True) as store:
        search = Search([plan], target, LocalScheduler([plan], devices, toolchain), store, follower)
        watch = follower.watch = Watch(search, devices)
        start = time.monotonic()
        with (
            patch.object(EvolutionProposer, "ask", timed(ask, asks)),
            patch.object(RunStore, "record", timed(RunStore.record, records)),
            patch.object(Sandbox, "start", timed(Sandbox.start, starts)),
            busy_loops(arguments.busy),
            watch,
        ):
            try:
                (outcome,) = search.run()
            except EvoflashError as failure:
                error = str(failure)
        seconds = time.monotonic() - start
        left = left_over(files, settings.cache)
        left_mib = watch.left_mib()
        if arguments.busy and outcome is not None and outcome.finals is not None:
            again = remeasured(outcome.finals, outcome.run_id, store, plan, target, settings)
    during = [each for each in watch.samples if 0 < each.candidates < watch.candidates]  # not in the finals
    worker_starts = [each for each in starts if each > START_MS]
    return {
        "device": target.device,
        "devices": [each.label for each in devices],
        "cores": len(os.sched_getaffinity(0)),
        "busy_loops": arguments.busy,
        "families": plan.families,
        "shape": plan.label,
        "candidates": watch.candidates,
        "budget": arguments.budget,
        "seconds": seconds,
        "reason": outcome.reason if outcome else error,
        "error": error,
        "throughput": str(outcome.throughput) if outcome else "",
        "statuses": dict(follower.statuses),
        "one_fault_in": arguments.faults,
        "faults": follower.tally.ended,
        "unexpected": follower.tally.unexpected,
        "worker_starts": len(worker_starts),
        "worker_start_s": statistics.median(worker_starts) / 1e3 if worker_starts else None,
        "vitals": judge(during),
        "worker_kib_a_candidate_in_a_life": within_lives(during),
        "ask_ms_median": quarters(asks) if len(asks) >= QUARTERS else [],
        "record_ms_median": quarters(records) if len(records) >= QUARTERS else [],
        "database_kib_a_candidate": (folder / "runs.db").stat().st_size / max(1, watch.candidates) / 1024,
        "left_over": left,
        "device_mib_left": left_mib,
        "quiet": again,
        "samples": series(watch.samples),
    }


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Other programs that want a core each."""
    loops = [processes.start([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in loops:
            processes.kill(each)
            each.wait()


def remeasured(
    finals: Finals, run_id: int, store: RunStore, plan: Plan, target: Target, settings: config.Settings
) -> dict[str, Any] | None:
    """The winner's time of the finals over its time on the machine as it is now, with a 95 % bootstrap interval."""
    winner = finals.winner
    if winner is None or winner.time is None:
        return None
    ((name, problem),) = plan.problems.items()
    entrant = of_candidate(store, store.candidate_id(run_id, winner.index), "the winner")
    sessions: list[tuple[float, ...]] = []
    for _ in range(SESSIONS):
        effort = Effort(samples=ROUNDS, check=False)
        with Bench(target, Toolchain(target, settings.cache), [entrant], effort, lambda _: None) as bench:
            (entry,) = bench.shape(name, problem).kernels
            sessions.append(entry.samples)
    quiet = [each for session in sessions for each in session]
    rng = np.random.default_rng(0)
    loaded_draws, quiet_draws = (
        np.median(rng.choice(values, size=(BOOTSTRAPS, len(values))), axis=1) for values in (winner.time.samples, quiet)
    )
    low, high = np.percentile(loaded_draws / quiet_draws, (2.5, 97.5))
    ratio = winner.time.p50_us / statistics.median(quiet)
    return {
        "family": entrant.family,
        "finals_us": winner.time.p50_us,
        "quiet_us": statistics.median(quiet),
        "sessions_us": [statistics.median(each) for each in sessions],
        "ratio": ratio,
        "interval": [float(low), float(high)],
        "conditions": str(finals.conditions),
        "doubt": finals.conditions.doubt,
        "is_within": abs(ratio - 1) <= BAR,
    }


def temporary_files() -> set[str]:
    """What evoflash has in the folder of temporary files; locks, which stay by design, are left out."""
    return {each.name for each in Path(tempfile.gettempdir()).glob("evoflash*") if each.suffix != ".lock"}


def left_over(before: set[str], cache: Path) -> dict[str, list[str]]:
    """Processes and temporary files that a search left; those that end with this process by design are left out."""
    children = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)]
    folders = [each.name for each in cache.iterdir() if each.name.startswith(BUILDING)] if cache.is_dir() else []
    return {
        "processes": [each for each in children if not any(module in each for module in OUTLIVE)],
        "files": sorted(temporary_files() - before) + folders,
    }


def main() -> int:
    """One soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--devices", default="1", help="GPUs, as in `evoflash search`; default: one")
    parser.add_argument("--budget", type=int, default=2000, help="candidates")
    parser.add_argument(
        "--minutes", type=float, default=600.0, help="after which the search ends, if it has not by then"
    )
    parser.add_argument("--faults", type=int, default=0, help="one candidate in so many has a fault; 0: none")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside the search")
    parser.add_argument(
        "--family",
        action="append",
        default=[],
        help="repeatable; default: soak or soak_cuda, beside busy loops the shipped ones",
    )
    parser.add_argument("--cores", type=int, help="of this machine, that all of it may use; default: all")
    parser.add_argument("--shape", help=f"default: {TINY}, of shipped families {SMALL}")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    if arguments.faults and not is_own(arguments):
        parser.error(
            f"shipped families have no faults; leave --faults out, or add --family {FAMILIES[arguments.target]}"
        )
    if arguments.cores:
        cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
        for thread in psutil.Process().threads():  # those of NumPy exist already
            os.sched_setaffinity(thread.id, cores)
    with tempfile.TemporaryDirectory() as folder:
        run = soak(arguments, Path(folder))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    print(table(run))
    return int(bool(failures(run)))


if __name__ == "__main__":
    sys.exit(main())
