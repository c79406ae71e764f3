"""How long the report of a large run takes, and how large it is.

    python benchmarks/large_run.py --candidates 2000 100000 --folder large

makes a database with a run of as many made-up candidates for each number, unless the folder has it already, and writes
their reports by `evoflash report`, each in a process of its own. Prints a table; the numbers are this machine's.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from hasty_store import hasty_store

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport, Evaluation, Timing
from evoflash.core.finals import Contestant, Final, Finals, contestant
from evoflash.core.genome import Genome
from evoflash.core.statistics import paired_ratio
from evoflash.core.status import Stage, Status
from evoflash.problems import attention

FAMILIES = ("mma", "hopper", "split")
FAILURES = (Status.BUILD_FAILED, Status.OVER_BUDGET, Status.WRONG, Status.LAUNCH_FAILED)
FACTS = {
    "arch": 90,
    "multiprocessors": 132,
    "registers_per_multiprocessor": 65536,
    "shared_bytes_per_multiprocessor": 233472,
    "max_threads_per_multiprocessor": 2048,
}
SOURCE_LINES = 3000  # of a rendered kernel of `hopper`


def fill(path: Path, count: int) -> None:
    """A finished run whose times follow from its genes, with failures, duplicates and sources of the usual size."""
    rng = random.Random(0)
    common = [f"  {'//' if line % 7 == 0 else 'auto'} line_{line} = {rng.random()};" for line in range(SOURCE_LINES)]
    best: list[tuple[float, int]] = []
    with hasty_store(path) as store:
        problem = attention.parse("mission")
        run = store.begin_run(
            strategy="evolution",
            seed=0,
            target="cuda",
            problem=problem,
            plan={"budget": count, "shapes": [{"name": "made-up", "problem": problem.to_dict()}]},
            machine={"device": "made up", "facts": FACTS, "max_sm_clock_mhz": 1980, "empty_launch_us": 0.55},
        )
        for index in range(count):
            parents = tuple(sorted(each for _, each in rng.sample(best, min(len(best), rng.choice([0, 1, 1, 2])))))
            genes = {f"gene_{number}": rng.choice((1, 2, 4, 8)) for number in range(18)} | {"threads": 128}
            operator = rng.choice(["step", "crossover", "surrogate"]) if parents else "random"
            candidate = Candidate(index, FAMILIES[index % len(FAMILIES)], Genome(genes), operator, parents)
            time_us = made_up_time(genes, rng, index / count)
            changed = {rng.randrange(SOURCE_LINES): f"  constexpr int changed = {index};" for _ in range(30)}
            text = "\n".join(changed.get(line, words) for line, words in enumerate(common))
            evaluation = evaluated(time_us, rng)
            # Sources are stored for as many as a report can carry: a hundred thousand would be ten gigabytes.
            store.record(run, candidate, evaluation, text if index % max(1, count // 2000) == 0 else None, "cuda")
            if evaluation.status is Status.OK:
                best = sorted([*best, (time_us, index)])[:20]
        finalists = [(time, index) for time, index in best[:8]]
        store.record_finals(run, finals(finalists, rng))
        store.finish_run(run, status="done", reason=f"{count} candidates tried", elapsed_s=count / 10)


def made_up_time(genes: dict[str, int], rng: random.Random, progress: float) -> float:
    """Some genes matter, some matter together, most do not; later candidates are better."""
    log_time = 0.5 * math.log2(genes["gene_0"]) - 0.2 * math.log2(genes["gene_1"])
    log_time += 0.3 * abs(math.log2(genes["gene_2"]) - math.log2(genes["gene_3"])) + rng.gauss(0, 0.15) - progress
    return 10 * math.exp(log_time)


def evaluated(time_us: float, rng: random.Random) -> Evaluation:
    """A tenth fails."""
    build = BuildReport(seconds=1.0, registers=rng.randrange(32, 256), shared_bytes=rng.randrange(200_000))
    if rng.random() < 0.1:
        return Evaluation(status=rng.choice(FAILURES), stage=Stage.CORRECTNESS, reason="made to fail", build=build)
    samples = tuple(time_us * rng.lognormvariate(0, 0.02) for _ in range(20))
    timings = tuple(
        Timing(regime=regime, p50_us=p50, p90_us=p50 * 1.1, p99_us=p50 * 1.2, launches=9, samples=samples)
        for regime, p50 in (("warm", time_us), ("cold", 1.2 * time_us))
    )
    return Evaluation(status=Status.OK, stage=Stage.FULL, build=build, timings=timings)


def finals(best: list[tuple[float, int]], rng: random.Random) -> Finals:
    """The finals of the best beside two baselines."""

    def timed(name: str, time_us: float) -> Contestant:
        return contestant(name, [time_us * rng.lognormvariate(0, 0.02) for _ in range(100)])

    baselines = (timed("sdpa-cudnn", 2.0 * best[0][0]), timed("sdpa-math", 20.0 * best[0][0]))
    finalists = []
    for time_us, index in best:
        time = timed(f"#{index}", time_us)
        ratios = {each.name: paired_ratio(each.samples, time.samples) for each in baselines}
        own = {"time": time, "ratios": ratios, "vs_best": ratios["sdpa-cudnn"], "best_baseline": "sdpa-cudnn"}
        finalists.append(Final(index=index, status=Status.OK, cases=64, **own))
    return Finals(finalists=tuple(finalists), baselines=baselines, rounds=100)


def measured(path: Path) -> dict[str, float]:
    """The time of the command, that of the writing alone, its memory, and the size of the page."""
    page = path.with_suffix(".html")
    code = (
        "import json, sys, time; from pathlib import Path; from evoflash.report.html import write;"
        "from evoflash.store import RunStore; import sklearn.ensemble, sklearn.inspection;"  # a search has loaded both
        "store = RunStore.open(sys.argv[1]); began = time.monotonic();"
        "write(store, [1], Path(sys.argv[2])); print(time.monotonic() - began)"
    )
    writing = subprocess.run([sys.executable, "-c", code, path, page], check=True, capture_output=True, text=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "evoflash", "report", "1", "--db", str(path), "--out", str(page)]
    subprocess.run(command, check=True, capture_output=True)
    return {
        "write_s": float(writing.stdout),
        "command_s": time.monotonic() - began,
        "page_mb": page.stat().st_size / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
    }


def main() -> None:
    """Fills the databases, writes the reports, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[2000, 100_000])
    parser.add_argument("--folder", type=Path, required=True, help="for databases and pages")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    print("| candidates | to write, s | `evoflash report`, s | page, MB | peak memory, MB |\n|---|---|---|---|---|")
    for count in sorted(arguments.candidates):
        path = arguments.folder / f"{count}.db"
        if not path.exists():
            fill(path, count)
        found[count] = each = measured(path)
        row = (each["write_s"], each["command_s"], each["page_mb"])
        print(f"| {count:,} | {' | '.join(f'{value:.1f}' for value in row)} | {each['peak_mb']:.0f} |", flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
