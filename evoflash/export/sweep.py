"""A sweep: measures where an export's kernels are faster than SDPA, by the export's own program."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from evoflash.errors import UsageError, WorkerError
from evoflash.export.package import write
from evoflash.export.rendering import RESULTS
from evoflash.export.winner import Winner
from evoflash.system import processes

START_S = 300.0  # to build the kernels and the operators


@dataclass(frozen=True)
class Sweep:
    """What to measure: lengths of queries and keys, batches, and the minutes that it may take; ends are included."""

    lengths: tuple[int, int] = (64, 4096)
    batches: tuple[int, int] = (1, 8)
    minutes: float = 5.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads e.g. "lengths=64..4096,batches=1..8,minutes=5"; what is absent has its default.

        Raises:
            UsageError: for anything else.
        """
        fields: dict[str, tuple[int, int] | float] = {}
        for part in re.split(r"[,\s]+", text.strip()):
            name, _, value = part.partition("=")
            span = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", value)
            if name in ("lengths", "batches") and span and 1 <= int(span[1]) <= int(span[2] or span[1]):
                fields[name] = int(span[1]), int(span[2] or span[1])
            elif name == "minutes" and re.fullmatch(r"\d*\.?\d+", value):
                fields[name] = float(value)
            else:
                raise UsageError(f"{part!r} is no part of a sweep; write e.g. lengths=64..4096,batches=1..8,minutes=5")
        return cls(**fields)  # type: ignore[arg-type] - the names decide

    def run(self, winner: Winner, out: Path, variables: Mapping[str, str]) -> Winner:
        """Writes the package into `out`, and measures with it.

        Args:
            variables: which show its program the device; see `Target.variables`.

        Returns:
            The winner with its results, and without the kernels that are nowhere the fastest.

        Raises:
            WorkerError: when the package's program fails.
        """
        folder = write(winner, out)
        spans = {"--lengths": self.lengths, "--batches": self.batches}
        options = [word for name, (first, last) in spans.items() for word in (name, f"{first}..{last}")]
        done = processes.run(
            [sys.executable, "-m", f"{winner.name}.sweep", *options, "--minutes", str(self.minutes)],
            60 * self.minutes + START_S,
            variables={"PYTHONPATH": str(folder), **variables},
            cwd=folder,
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise WorkerError(f"the sweep fails: {last}; run `evoflash doctor`, or export without --sweep")
        found = json.loads((folder / winner.name / RESULTS).read_text(encoding="utf-8"))
        return winner.swept(found)
