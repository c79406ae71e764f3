"""How long a large database takes to answer.

    python benchmarks/large_database.py --stored 100000 --out database.json

writes a run of `--stored` made-up candidates, and times what `evoflash runs show` and `evoflash lineage` ask the
database, and the commands as a whole. Prints a table for docs/results/soak.md; the numbers are this machine's.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hasty_store import hasty_store
from stopwatch import timed

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.problems import attention
from evoflash.report import runs as report
from evoflash.report.lineage import of_candidate
from evoflash.report.lineage_drawings import walk
from evoflash.store import RunStore


def fill(path: Path, count: int) -> int:
    """A run of made-up candidates, with evidence of the usual size; the id of the last that has many ancestors."""
    rng = random.Random(0)
    text = (Path(__file__).parents[1] / "templates" / "cpu_flash" / "kernel.cpp.j2").read_text(encoding="utf-8")
    best: list[tuple[float, int]] = []
    with hasty_store(path) as store:
        problem = attention.parse("mission")
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
            timed(lambda: list(walk(of_candidate(store.ancestry(chosen)))), asked["lineage"])()
            timed(store.runs, asked["runs list"])()
            timed(report.best, asked["runs best"])(store, 1)
    with RunStore.open(str(path)) as store:
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


def table(stored: dict[str, Any]) -> str:
    """For a person, as Markdown."""
    lines = ["| command | ms (median of 7) | first time |", "|---|---|---|"]
    for name, value in stored["query_ms"].items():
        lines.append(f"| {name} | {value:.0f} | {stored['query_ms_first'][name]:.0f} |")
    commands = ", ".join(f"`evoflash {name}` {value:.0f} ms" for name, value in stored["command_ms"].items())
    lines += ["", f"{stored['candidates']} candidates, {stored['gib']:.2f} GiB. Whole commands: {commands}."]
    return "\n".join(lines)


def main() -> None:
    """Fills a database, asks it, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, default=100_000, help="candidates")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stored = large(Path(folder), arguments.stored)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(table(stored))


if __name__ == "__main__":
    main()
