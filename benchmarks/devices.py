"""What a search over many devices gets through, on devices that are simulated.

    python benchmarks/devices.py --devices 1 2 4 8 32

runs a search for each number of devices, over all CUDA families of a Hopper. Driver, templates, database and
scheduler are the real ones; builders and devices sleep as long as they work on an H100 with 16 cores, where a search
gets through 1,034 candidates a minute with builders and device nine tenths busy. Times are made up from the genomes.
Prints candidates a minute, as a share of N times one device, and what a candidate costs the driver: where that is 1 / N
of what it costs a device, the search is bound by the driver. A report, not a test: the numbers are this machine's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoflash import config
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.finals import Contestant, Final, Finals
from evoflash.core.status import Stage, Status
from evoflash.evaluator import Evaluator, Limits
from evoflash.problems import Problem, attention
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.run.plan import Plan, choose_families
from evoflash.search import Search
from evoflash.store import RunStore
from evoflash.targets import Target, cuda

# An H100 with 16 cores: 15 builders, each candidate 52 ms on the device and 0.78 s in a builder.
PACE = 1034  # candidates a minute of one device
BUSY = 0.9
BUILDERS = 15  # for each device
EXAMINE_S = BUSY * 60 / PACE
BUILD_S = BUSY * BUILDERS * 60 / PACE
WRONG, SLOW = 0.15, 0.3  # the shares of candidates that are wrong, and given up early
WINDOW = 60  # for each device
LOG = "ptxas info    : Used 168 registers, used 1 barriers, 49152 bytes smem, 8 bytes cumulative stack size\n" * 20

ACCURACY = Accuracy(
    case="mission",
    max_error=1e-3,
    rms_error=1e-4,
    mean_error=1e-5,
    sdpa_max_error=1e-3,
    sdpa_rms_error=1e-4,
    max_bound=3e-3,
    rms_bound=2e-4,
    worst_index=(0, 1, 2, 3),
)


class SimulatedBuild(Build):
    """A library that is nowhere, and as good as new."""

    @property
    def is_intact(self) -> bool:
        """Always."""
        return True


class SimulatedToolchain(Toolchain):
    """Sleeps as long as a build takes."""

    def __init__(self, build_s: float = BUILD_S):
        self.build_s = build_s

    def build(self, source: Source) -> Build:
        """A library with the digest of its source."""
        time.sleep(self.build_s * (0.5 + _share(source.digest)))
        report = BuildReport(
            seconds=self.build_s, registers=168, shared_bytes=49152, spill_bytes=0, binary_digest=source.digest, log=LOG
        )
        return SimulatedBuild(report, Path(f"/nowhere/{source.digest}.so"))

    def restored(self, build: Build, source: Source) -> Build:
        """The same."""
        return build

    def stop(self) -> None:
        """Nothing runs."""


class SimulatedDevice:
    """Sleeps as long as an examination takes; the verdict is a function of the library."""

    def __init__(self, problem: Problem, examine_s: float = EXAMINE_S):
        self.problem = problem
        self.examine_s = examine_s
        self.rivals_out: dict[str, str] = {}
        self.preparation_s: dict[str, float] = {}

    def start(self) -> dict[str, object]:
        """Nothing is known of the machine."""
        return {}

    def close(self) -> None:
        """Nothing runs."""

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True) -> dict[str, float]:
        """One."""
        return {"sdpa": 12.0}

    def passes(self, build: Build, case: Any) -> bool:
        """None takes every size."""
        return False

    def examine(self, build: Build, best_us: float | None, further: Sequence[Any] = ()) -> Evaluation:
        """As much evidence as a real one has."""
        assert build.library is not None
        share = _share(build.library.stem)
        time.sleep(self.examine_s * (0.5 + share))
        accuracy = tuple(ACCURACY.model_copy(update={"case": f"mission seed {seed}"}) for seed in range(3))
        if share < WRONG:
            stage, status = Stage.CORRECTNESS, Status.WRONG
            return Evaluation(status=status, stage=stage, reason="an error", build=build.report, accuracy=accuracy[:1])
        quick = share < WRONG + SLOW
        p50_us = 4 + 40 * share if quick else 4 + 8 * (share - WRONG)
        samples = tuple(p50_us * (1 + number / 1e4) for number in range(10 if quick else 100))
        timings = tuple(
            Timing(regime=regime, p50_us=p50_us, p90_us=p50_us, p99_us=p50_us, launches=200, samples=samples)
            for regime in ("warm", "cold")
        )
        return Evaluation(
            status=Status.OK,
            stage=Stage.QUICK if quick else Stage.FULL,
            build=build.report,
            accuracy=accuracy,
            timings=timings,
            quick=quick,
            seconds=self.examine_s,
        )

    def finals(self, finalists: Sequence[Any], rounds: int) -> Finals:
        """All pass."""
        time_us = Contestant(name="simulated", p50_us=4.0, p90_us=4.0, p99_us=4.0, samples=(4.0, 4.0))
        passed = tuple(Final(index=each.index, status=Status.OK, time=time_us) for each in finalists)
        return Finals(finalists=passed, baselines=(), rounds=rounds)


class Watch:
    """Progress that nobody sees; remembers when each result came."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def baselines(self, *_: Any) -> None:
        """Nothing."""

    def update(self, *_: Any) -> None:
        """Nothing."""

    def note(self, _: str) -> None:
        """Nothing."""

    def finished(self, *_: Any) -> None:
        """A result."""
        self.moments.append(time.monotonic())


def _share(digest: str) -> float:
    """A number from 0 to 1 that a digest stands for."""
    return random.Random(hashlib.sha256(digest.encode()).digest()).random()


def search(arguments: argparse.Namespace, count: int, folder: Path) -> dict[str, Any]:
    """One search over so many devices, and what it got through between a tenth and nine tenths of its results."""
    problem = attention.parse(arguments.shape)
    facts = {**cuda.of_arch("sm_90a").facts, "multiprocessors": 132, "l2_bytes": 50 << 20}
    target: Target = replace(cuda.of_arch("sm_90a"), facts=facts)
    settings = config.load(db=str(folder / f"{count}.db"), cache=folder, jobs=BUILDERS * count)
    budget = arguments.budget * count if arguments.each else arguments.budget
    plan = Plan.make(
        {arguments.shape: problem},
        target,
        config.effort("standard", "cuda", budget=budget, minutes=60.0, finalists=1),
        settings,
        effort_name="standard",
        families=choose_families([problem], target, (), ()),
        strategy=arguments.strategy,
        seed=0,
        limits=Limits(),
        device_count=count,
    ).model_copy(update={"window": WINDOW * count})
    watch = Watch()
    scheduler = LocalScheduler(
        [plan],
        [replace(target, number=number) for number in range(count)],
        SimulatedToolchain(),
        lambda plan, _: Evaluator({plan.title: SimulatedDevice(problem)}),  # type: ignore[dict-item]
    )
    with RunStore.open(settings.db, write=True) as store:
        engine = Search([plan], target, scheduler, store, watch)  # type: ignore[arg-type]
        started = time.process_time()
        (outcome,) = engine.run()
        process_s = time.process_time() - started
    first, last = len(watch.moments) // 10, 9 * len(watch.moments) // 10
    pace = 60 * (last - first) / (watch.moments[last] - watch.moments[first])
    throughput = outcome.throughput
    driver_ms = 60e3 * throughput.driver_busy / throughput.candidates_a_minute
    return {
        "devices": count,
        "candidates": budget,
        "a_minute": pace,
        "driver_ms": driver_ms,
        "driver_busy": pace * driver_ms / 60e3,
        "process_ms": 1e3 * process_s / budget,  # the threads of builders and devices included
    }


def main() -> None:
    """Prints a line for each number of devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8, 32])
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--each", action="store_true", help="the budget is for each device")
    parser.add_argument("--strategy", default="evolution")
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    one = None
    print("devices  candidates  a minute  of N times one  driver, ms  driver busy  process, ms")
    for count in arguments.devices:
        with tempfile.TemporaryDirectory() as folder:
            found = search(arguments, count, Path(folder))
        one = one or found["a_minute"] / count
        share = found["a_minute"] / (one * count)
        if arguments.json:
            print(json.dumps({**found, "share": share}))
            continue
        print(
            f"{count:>7}{found['candidates']:>12}{found['a_minute']:>10.0f}{share:>16.2f}{found['driver_ms']:>12.2f}"
            f"{found['driver_busy']:>13.1%}{found['process_ms']:>13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
