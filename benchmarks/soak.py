"""A long search, and a large database: what grows, and what must not.

    python benchmarks/soak.py --budget 2000 --stored 100000 --out soak.json

searches `--budget` candidates of tiny CPU kernels, and says by quarters of the run how much memory driver and worker
take, how long a proposal and a record take, and what the database holds. Then it writes a run of `--stored` made-up
candidates and times what `evoflash runs show` and `evoflash lineage` ask the database, and the commands as a whole.
Prints a table for docs/results/soak.md; the numbers are this machine's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from evoflash import config, problems, targets
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.evaluator import Limits
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.report import lineage
from evoflash.report import runs as report
from evoflash.run.plan import Plan
from evoflash.search import Search
from evoflash.store import RunStore

SHAPE = "b=1,h=2,s=32,d=16,dtype=fp32"
FAMILY = Path(__file__).with_name("soak_family")
QUARTERS = 4


@dataclass
class Watch:
    """A progress that measures: after each candidate the memory of driver and worker, resident bytes."""

    search: Search | None = None
    driver: list[int] = field(default_factory=list)
    worker: list[int] = field(default_factory=list)

    def baselines(self, shape: str, times_us: dict[str, float]) -> None:
        """Nothing."""

    def update(self, building: int, examining: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Passes it on."""
        print(text, file=sys.stderr)

    def finished(self, shape: str, candidate: Candidate, evaluation: Evaluation, is_best: bool) -> None:
        """Looks at both processes."""
        assert self.search is not None
        self.driver.append(psutil.Process().memory_info().rss)
        (evaluator,) = self.search.tasks[0].evaluator.shapes.values()
        worker = evaluator._sandbox._process
        if worker is not None:
            self.worker.append(psutil.Process(worker.pid).memory_info().rss)
        if len(self.driver) % 100 == 0:
            print(f"{len(self.driver)} candidates", file=sys.stderr)


def timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    """The same call, which notes how many milliseconds it took."""

    def measured(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            into.append(1e3 * (time.perf_counter() - start))

    return measured


def quarters(values: list[float] | list[int], what: Callable[[Any], float]) -> list[float]:
    """A figure for each quarter of a run."""
    size = len(values) // QUARTERS
    return [what(values[number * size : (number + 1) * size]) for number in range(QUARTERS)]


def soak(folder: Path, budget: int) -> dict[str, Any]:
    """The search."""
    settings = config.load(db=str(folder / "runs.db"), cache=folder / "builds", templates=[FAMILY])
    problem, target = problems.parse(SHAPE), targets.detect("cpu")
    effort = config.effort("quick", "cpu", budget=budget, minutes=600.0)
    effort = effort.model_copy(update={"samples": 10, "quick_samples": 3, "finalists": 2, "rounds": 5})
    plan = Plan.make(
        {SHAPE: problem},
        target,
        effort,
        settings,
        effort_name="soak",
        families=("soak",),
        strategy="evolution",
        seed=0,
        limits=Limits(),
    )
    watch, asks, records = Watch(), [], []
    with RunStore.open(settings.db, write=True) as store:
        search = watch.search = Search([plan], target, Toolchain(target, settings.cache), store, watch)
        start = time.monotonic()
        with (
            patch.object(EvolutionProposer, "ask", timed(EvolutionProposer.ask, asks)),
            patch.object(RunStore, "record", timed(RunStore.record, records)),
        ):
            (outcome,) = search.run()
        seconds = time.monotonic() - start
        statuses = report.report(store, outcome.run_id).statuses
        asked = {"runs show": [], "lineage": []}
        for _ in range(5):
            timed(report.report, asked["runs show"])(store, outcome.run_id)
            timed(lambda: list(lineage.walk(store.ancestry(report.best(store, 1).candidate))), asked["lineage"])()
        ancestors = len(store.ancestry(report.best(store, 1).candidate))
    mib = 1024**2
    return {
        "device": target.device,
        "candidates": len(watch.driver),
        "seconds": seconds,
        "statuses": statuses,
        "throughput": str(outcome.throughput),
        "worker_starts": search.tasks[0].evaluator.worker_starts,
        "driver_mib": [round(each / mib, 1) for each in quarters(watch.driver, statistics.median)],
        "worker_mib": [round(each / mib, 1) for each in quarters(watch.worker, statistics.median)],
        "driver_kib_a_candidate": slope(watch.driver) / 1024,
        "worker_kib_a_candidate": slope(watch.worker) / 1024,
        "ask_ms_median": quarters(asks, statistics.median),
        "ask_ms_mean": quarters(asks, statistics.fmean),
        "record_ms_median": quarters(records, statistics.median),
        "database_kib_a_candidate": (folder / "runs.db").stat().st_size / len(watch.driver) / 1024,
        "query_ms": {name: statistics.median(values) for name, values in asked.items()},
        "ancestors_of_the_best": ancestors,
    }


def slope(values: list[int]) -> float:
    """Bytes a candidate over the second half of a run, by least squares."""
    half = values[len(values) // 2 :]
    return statistics.linear_regression(range(len(half)), half).slope


def fill(path: Path, count: int) -> int:
    """A run of made-up candidates, with evidence of the usual size; the id of the last that has many ancestors."""
    rng = random.Random(0)
    text = (Path(__file__).parents[1] / "templates" / "cpu_flash" / "kernel.cpp.j2").read_text(encoding="utf-8")
    best: list[tuple[float, int]] = []
    with RunStore.open(str(path), write=True) as store:
        connection = store._engine.raw_connection()  # the pool's only one
        connection.cursor().execute("PRAGMA synchronous = OFF")  # what is made up need not wait for the disk
        connection.close()
        problem = problems.parse("mission")
        store.begin_run(
            strategy="evolution",
            seed=0,
            target="cpu",
            problem=problem,
            plan={"budget": count},
            machine={"device": "none"},
        )
        for index in range(count):
            # As evolution has them: parents are among the best so far, and better children come ever more rarely.
            parents = tuple(sorted(each for _, each in rng.sample(best, min(len(best), rng.choice([0, 1, 1, 2])))))
            genes = {f"gene_{number}": rng.randrange(8) for number in range(20)}
            operator = rng.choice(["mutation", "crossover", "model"]) if parents else "random"
            candidate = Candidate(index, "cpu_flash", Genome(genes), operator, parents)
            time_us = 100 + 900 * rng.random() ** (1 / (1 + index / 1000))
            store.record(1, candidate, made_up(time_us, rng.random() < 0.8), f"// {index}\n{text[:20_000]}", "c++")
            best = sorted([*best, (time_us, index)])[:20]
            if index % 10_000 == 9_999:
                print(f"{index + 1} of {count} stored", file=sys.stderr)
        store.finish_run(1, status="done", reason="made up", elapsed_s=1.0)
    return best[0][1] + 1


def made_up(time_us: float, right: bool) -> Evaluation:
    """An evaluation with as much evidence as a real one."""
    errors = {"max_error": 1e-3, "rms_error": 1e-4, "mean_error": 1e-4, "sdpa_max_error": 1e-3, "sdpa_rms_error": 1e-4}
    accuracy = tuple(
        Accuracy(case=f"seed {seed}", **errors, max_bound=1e-2, rms_bound=1e-3, worst_index=(0, 1, 2, 3))
        for seed in (0, 42, 12345)
    )
    samples = tuple(time_us + number for number in range(100))
    timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=9, samples=samples)
    build = BuildReport(seconds=1.0, binary_digest=f"{time_us:064.20f}")
    if not right:
        return Evaluation(
            status=Status.WRONG, stage=Stage.CORRECTNESS, reason="rms error", build=build, accuracy=accuracy
        )
    return Evaluation(
        status=Status.OK, stage=Stage.FULL, build=build, accuracy=accuracy, timings=(timing,), seconds=0.1
    )


def large(folder: Path, count: int) -> dict[str, Any]:
    """The large database: what is asked, and the commands."""
    path = folder / "large.db"
    chosen = fill(path, count)
    asked: dict[str, list[float]] = {"runs show": [], "lineage": [], "runs list": [], "runs best": []}
    for _ in range(7):
        with RunStore.open(str(path)) as store:
            timed(report.report, asked["runs show"])(store, 1)
            timed(lambda: list(lineage.walk(store.ancestry(chosen))), asked["lineage"])()
            timed(store.runs, asked["runs list"])()
            timed(report.best, asked["runs best"])(store, 1)
            ancestors = len(store.ancestry(chosen))
    commands = {}
    for name in ("--version", "runs show", f"lineage {chosen}"):
        took: list[float] = []
        command = [sys.executable, "-m", "evoflash.cli.main", *name.split()]
        for _ in range(3):
            place = [] if name == "--version" else ["--db", str(path)]
            timed(subprocess.run, took)([*command, *place], check=True, stdout=subprocess.DEVNULL)
        commands[name.split(" 1")[0]] = statistics.median(took)
    return {
        "candidates": count,
        "gib": path.stat().st_size / 1024**3,
        "ancestors": ancestors,
        "query_ms": {name: statistics.median(values) for name, values in asked.items()},
        "query_ms_first": {name: values[0] for name, values in asked.items()},
        "command_ms": commands,
    }


def table(found: dict[str, Any]) -> str:
    """Both parts for a person, as Markdown."""
    lines = []
    if run := found.get("search"):
        lines += [
            f"{run['candidates']} candidates in {run['seconds']:.0f} s on {run['device']}; {run['throughput']}",
            "",
            "| | 1st quarter | 2nd | 3rd | 4th | growth over the second half |",
            "|---|---|---|---|---|---|",
        ]
        for name, key in (("driver", "driver"), ("worker", "worker")):
            cells = " | ".join(f"{each:.1f}" for each in run[f"{key}_mib"])
            lines.append(f"| {name}, MiB | {cells} | {run[f'{key}_kib_a_candidate']:.2f} KiB a candidate |")
        for name, key in (
            ("a proposal, ms (median)", "ask_ms_median"),
            ("a proposal, ms (mean)", "ask_ms_mean"),
            ("a record, ms (median)", "record_ms_median"),
        ):
            lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in run[key])} | |")
        lines += ["", f"The database: {run['database_kib_a_candidate']:.1f} KiB a candidate.", ""]
    if stored := found.get("stored"):
        lines += ["| command | ms (median of 7) | first time |", "|---|---|---|"]
        for name, value in stored["query_ms"].items():
            lines.append(f"| {name} | {value:.0f} | {stored['query_ms_first'][name]:.0f} |")
        commands = ", ".join(f"`evoflash {name}` {value:.0f} ms" for name, value in stored["command_ms"].items())
        lines += ["", f"{stored['candidates']} candidates, {stored['gib']:.2f} GiB. Whole commands: {commands}."]
    return "\n".join(lines)


def main() -> None:
    """Runs both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=2000, help="candidates of the search; 0 leaves it out")
    parser.add_argument("--stored", type=int, default=100_000, help="candidates of the large database; 0: none")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.budget:
            found["search"] = soak(Path(folder), arguments.budget)
        if arguments.stored:
            found["stored"] = large(Path(folder), arguments.stored)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
