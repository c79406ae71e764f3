"""How much of a search's result is luck: the same search several times, the winners timed against each other.

    python benchmarks/repeat_search.py --shape mission --times 5 --effort quick

Each search has a seed of its own and knows nothing of the others; the exported winners then race in one `evoflash
bench`, interleaved. Prints each winner's median and the spread, (slowest - fastest) / fastest, and ends with 1 when
that is more than --spread.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Searches, then one race."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="mission")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--effort", default="standard")
    parser.add_argument("--minutes", type=float, help="of each search")
    parser.add_argument("--target", default="auto")
    parser.add_argument("--rounds", type=int, default=300, help="of the race")
    parser.add_argument("--spread", type=float, default=0.03)
    parser.add_argument("--out", type=Path, help="where to write the result as JSON")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        shared = ["--shape", arguments.shape, "--target", arguments.target, "--cache", f"{folder}/builds"]
        winners = []
        for seed in range(arguments.times):
            limits = ["--minutes", str(arguments.minutes)] if arguments.minutes else []
            fixed = ["--warm-start", "none", "--effort", arguments.effort, "--seed", str(seed), *limits]
            package = f"{folder}/winner{seed}"
            words = [*shared, *fixed, "--db", f"{folder}/{seed}.db", "--out", package]
            (found,) = evoflash("search", *words, "--json")["results"]
            winners.append(renamed(Path(package), f"winner{seed}"))
            print(f"seed {seed}: {found['family']} {found['p50_us']:.3f} us in its own finals", flush=True)
        kernels = [word for package in winners for word in ("--kernel", str(package))]
        raced = evoflash("bench", *shared, *kernels, "--iters", str(arguments.rounds), "--json")
    (shape,) = raced["shapes"]
    times = {entry["name"]: entry["p50_us"] for entry in shape["kernels"] if entry["p50_us"] is not None}
    for name, p50 in sorted(times.items(), key=lambda each: each[1]):
        print(f"{name}: {p50:.3f} us")
    spread = (max(times.values()) - min(times.values())) / min(times.values())
    print(f"spread of {len(times)} winners: {spread:.2%}, {arguments.spread:.0%} wanted")
    if arguments.out is not None:
        result = {"environment": raced["environment"], "times_us": times, "spread": spread}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(spread > arguments.spread or len(times) < arguments.times)


def evoflash(*arguments: str) -> dict:
    """A command's JSON document; its progress goes to standard error."""
    command = [sys.executable, "-m", "evoflash.cli.main", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ends with {done.returncode}")
    return json.loads(done.stdout)


def renamed(package: Path, name: str) -> Path:
    """The package with a name of its own in its record, since a race wants one for each."""
    (record,) = package.glob("*/provenance.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(content | {"name": name}), encoding="utf-8")
    return package


if __name__ == "__main__":
    sys.exit(main())
