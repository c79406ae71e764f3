"""Searches to be written down: what each found, what sanitizers, machine code and profiler say of it, and when.

    python benchmarks/record_searches.py "mission --effort standard" "dit_4k --family hopper --minutes 0.75" \
        --out docs/results/searches.json

Each argument is a shape and options of `evoflash search`; searches run one after the other, each with a database of its
own and no earlier run to begin with. With --look, a CUDA winner's machine code is counted by instruction (cuobjdump)
and a launch of it is profiled (ncu), where the toolkit has these. A search that fails is recorded with what it said.
With --within, none is begun after so many seconds. The file is written anew after each.
"""

import argparse
import csv
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from evoflash.targets import cuda
from evoflash.targets.cuda import CudaTarget

SECTIONS = ("SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "LaunchStats")
METRICS = re.compile(
    r"sm__pipe_tensor_cycles_active\.avg\.pct|sm__inst_executed_pipe_(xu|fma|tensor_op_[gh]mma)\.avg\.pct"
    r"|gpu__time_duration\.avg|sm__cycles_(active|elapsed)\.avg|lts__.*hit_rate|dram__bytes.*sum$"
    r"|inst_executed\.avg\.per_cycle_active$|waves_per_multiprocessor"
)
INSTRUCTIONS = ("HGMMA", "HMMA", "UTMALDG", "UTMASTG", "UBLKCP", "LDGSTS", "USETMAXREG", "MUFU.EX2", "LDL", "STL")


def main() -> int:
    """0 when every search found a kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", nargs="+", metavar="SHAPE OPTIONS")
    parser.add_argument("--target", default="auto")
    parser.add_argument("--look", action="store_true", help="at machine code and profile of each winner")
    parser.add_argument("--within", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    arguments = parser.parse_args()

    began, records = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for number, words in enumerate(map(shlex.split, arguments.searches)):
            if time.monotonic() - began > arguments.within:
                break
            record = searched(words, arguments.target, Path(folder), number, look=arguments.look)
            records.append(record)
            print(summary(record), flush=True)
            arguments.out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return int(len(records) < len(arguments.searches) or any("failed" in record for record in records))


def searched(words: list[str], target: str, folder: Path, number: int, *, look: bool) -> dict[str, Any]:
    """One search, as it will be written down."""
    options = ["--shape", *words, "--target", target, "--warm-start", "none"]
    database = ["--db", f"{folder}/{number}.db"]
    began = time.monotonic()
    package = ["--out", f"{folder}/export{number}"]
    done = evoflash("search", *options, *database, *package, "--cache", f"{folder}/builds", "--json")
    record = {"command": shlex.join(["evoflash", "search", *options]), "wall_s": round(time.monotonic() - began, 1)}
    if done.returncode:
        return record | {"failed": done.returncode, "said": done.stderr.splitlines()[-5:]}
    (winner,) = json.loads(done.stdout)["results"]
    record |= {name: winner[name] for name in winner if name not in ("run", "candidate", "export", "source_digest")}
    shown = json.loads(evoflash("runs", "show", *database, "--json").stdout)
    record |= {"searched_s": shown["run"]["elapsed_s"], "date": shown["run"]["created_at"][:10]}
    record |= {name: shown[name] for name in ("statuses", "families", "operators", "convergence")}
    record["machine"] = shown["run"]["machine"]
    record["finals"] = without(shown["finals"], ("accuracy", "samples"))
    record["throughput"] = [each["text"] for each in shown["insights"] if each["kind"] == "throughput"]
    if look and shown["run"]["target"] == "cuda":
        (source,) = Path(winner["export"]).rglob("*.cu")
        kernel = Source(source.read_text(encoding="utf-8"), "cuda")
        record |= looked(cuda.detect(), kernel, shown["run"]["problem"], folder)
    return record


def evoflash(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended."""
    command = [sys.executable, "-P", "-m", "evoflash.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def without(value: Any, names: Sequence[str]) -> Any:
    """JSON without some fields, at any depth."""
    if isinstance(value, dict):
        return {name: without(each, names) for name, each in value.items() if name not in names}
    return [without(each, names) for each in value] if isinstance(value, list) else value


def looked(target: CudaTarget, source: Source, problem: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A kernel's instructions and the profile of a launch, or why there are none."""
    build = Toolchain(target, folder / "builds").build(source)
    assert build.library is not None, build.reason
    listed = folder / "problems.json"
    listed.write_text(json.dumps([problem, problem]), encoding="utf-8")  # the first launch is a cold one
    profiler = ["ncu", "--cache-control", "none", "--clock-control", "none", "--csv", "--page", "raw"]
    profiler += [word for section in SECTIONS for word in ("--section", section)]
    launch = [
        sys.executable,
        "-P",
        "-m",
        "evoflash.worker.sanitized_launch",
        str(build.library),
        "cuda",
        str(listed),
    ]
    return {
        "registers": build.report.registers,
        "shared_bytes": build.report.shared_bytes,
        "spill_bytes": build.report.spill_bytes,
        "instructions": instructions(target, source, folder),
        "profile": profile([*profiler, *launch]),
    }


def instructions(target: CudaTarget, source: Source, folder: Path) -> dict[str, int] | str:
    """How often each of `INSTRUCTIONS` stands in the machine code."""
    (folder / target.source_name).write_text(source.text, encoding="utf-8")
    listing = ""
    for command in (shlex.split(target.steps()[0].command), ["cuobjdump", "-sass", "device.cubin"]):
        try:
            listing = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            return str(error)
    return counted(listing)


def counted(listing: str) -> dict[str, int]:
    """The instructions of a listing by cuobjdump."""
    found = Counter(re.findall(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9.]+)", listing, re.MULTILINE))
    return {name: sum(count for word, count in found.items() if word.startswith(name)) for name in INSTRUCTIONS}


def profile(command: list[str]) -> list[dict[str, str]] | str:
    """The metrics that `METRICS` wants, with their units, of each launch for the second of two problems."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    launches = metrics(done.stdout)
    return launches[len(launches) // 2 :] or done.stdout[-500:] + done.stderr[-500:]


def metrics(output: str) -> list[dict[str, str]]:
    """Those of `METRICS` in the CSV that ncu prints: a row of names, one of units, then one for each launch."""
    lines = output.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    names, units, *launches = [*csv.reader(lines[start:]), [], []]
    return [
        {
            f"{name} ({unit})" if unit else name: value
            for name, unit, value in zip(names, units, row, strict=True)
            if name == "Kernel Name" or METRICS.search(name)
        }
        for row in launches
        if row
    ]


def summary(record: dict[str, Any]) -> str:
    """A line of the table."""
    if "failed" in record:
        return f"{record['command']}: exit code {record['failed']}: {' '.join(record['said'])}"
    low, high = record["vs_best_interval"]
    count = sum(record["statuses"].values())
    found = f"{record['family']} {record['p50_us']:.3f} us, {record['vs_best']:.2f}x [{low:.2f}, {high:.2f}]"
    beside = (
        f"{record['best_baseline']}, {record['vs_math']:.1f}x math, {count} candidates in {record['searched_s']:.0f} s"
    )
    watched = "".join(f"\n  {name}: {words}" for name, words in record["finals"]["sanitized"].items())
    return f"{record['shape']}: {found} {beside}{watched}"


if __name__ == "__main__":
    sys.exit(main())
