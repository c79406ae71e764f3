"""Whether a search is slower for being watched: pairs of searches, with the live view and with --quiet, in turn.

    python benchmarks/live_view.py --pairs 6 --shape b=1,h=2,s=128,d=64,dtype=fp32 --budget 40 --target cpu

Both searches of a pair propose the same candidates (the same seed, and the strategy random unless --strategy says
otherwise), and begin with an empty database and build cache. The watched one writes to a pseudo-terminal of 140
columns. Prints a JSON object: candidates a minute of each, the median of the paired ratios (watched over quiet) with
its bootstrap interval, and the driver's share of a core. Exit code 1 when the interval lies below 0.98.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path

import numpy as np

from evoflash.store import RunStore

LEAST = 0.98  # of the pace of a quiet search
ROWS, COLUMNS = 40, 140


def searched(arguments: argparse.Namespace, seed: int, *, is_watched: bool) -> dict[str, float]:
    """The throughput of one search."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "evoflash", "search", "--shape", arguments.shape, "--seed", str(seed)]
        command += ["--budget", str(arguments.budget), "--minutes", "30", "--target", arguments.target, "--no-calls"]
        command += ["--db", f"{folder}/runs.db", "--cache", f"{folder}/builds", "--warm-start", "none"]
        command += ["--out", f"{folder}/out", "--effort", "quick", "--baseline", "none", "--no-report"]
        command += ["--strategy", arguments.strategy]
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        process = subprocess.Popen(
            command if is_watched else [*command, "--quiet"], stderr=theirs, stdout=subprocess.DEVNULL, env=environment
        )
        os.close(theirs)
        threading.Thread(target=_drain, args=(ours,), daemon=True).start()
        if process.wait():
            raise SystemExit(f"the search failed with exit code {process.returncode}: {' '.join(command)}")
        with RunStore.open(str(Path(folder) / "runs.db")) as store:
            return next(each.data for each in store.insights(1) if each.kind == "throughput")


def _drain(terminal: int) -> None:
    """Reads what is written to a terminal, so that the writer never waits."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # the other end is closed
        os.close(terminal)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--shape", default="b=1,h=2,s=128,d=64,dtype=fp32")
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--strategy", default="random", help="one that learns has other candidates where times differ")
    arguments = parser.parse_args()
    paces: dict[bool, list[float]] = {True: [], False: []}
    drivers: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(arguments.pairs):
        for is_watched in (True, False) if pair % 2 else (False, True):
            found = searched(arguments, pair, is_watched=is_watched)
            paces[is_watched].append(found["candidates_a_minute"])
            drivers[is_watched].append(found["driver_busy"])
            print(f"pair {pair}: {'watched' if is_watched else 'quiet'} {paces[is_watched][-1]:.1f}", file=sys.stderr)
    ratios = np.array(paces[True]) / np.array(paces[False])
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975)).tolist()
    document = {
        "watched": paces[True],
        "quiet": paces[False],
        "ratio": float(np.median(ratios)),
        "interval": [low, high],
        "driver_busy": {"watched": statistics.median(drivers[True]), "quiet": statistics.median(drivers[False])},
    }
    print(json.dumps(document, indent=1))
    return int(high < LEAST)


if __name__ == "__main__":
    sys.exit(main())
