"""Comparison of strategies on the same recordings with the same seeds, in parallel and resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from evoflash.errors import StorageError
from evoflash.replay.recording import Recording
from evoflash.replay.simulation import Trace, simulate

TRACES = "traces.jsonl"


@dataclass(frozen=True)
class Lap:
    """One run of a comparison."""

    strategy: str
    space: str
    seed: int


@dataclass(frozen=True)
class Race:
    """A comparison of strategies.

    Attributes:
        strategies: names, as for `proposers.create`.
        recordings: the recordings by name.
        repeats: runs of each strategy on each recording, with seeds 0, 1, 2 …
        evaluations: evaluations per run.
        window: proposals in flight.
    """

    strategies: tuple[str, ...]
    recordings: Mapping[str, Recording]
    repeats: int = 25
    evaluations: int = 200
    window: int = 1

    @property
    def laps(self) -> list[Lap]:
        """All runs, in the order of the report."""
        return [
            Lap(strategy, space, seed)
            for strategy in self.strategies
            for space in self.recordings
            for seed in range(self.repeats)
        ]

    def run(self, jobs: int, folder: Path | None, done: Callable[[Trace], None] = lambda _: None) -> list[Trace]:
        """Runs those laps that are not in `folder` yet; returns the traces in the order of `laps`.

        Args:
            jobs: number of processes.
            folder: finished runs are stored here, in traces.jsonl; None stores nothing.
            done: called with each finished run.
        """
        log = Log(folder, self) if folder is not None else None
        traces = log.known() if log is not None else {}
        for trace in self._finish([lap for lap in self.laps if lap not in traces], jobs):
            if log is not None:
                log.append(trace)
            traces[_lap(trace)] = trace
            done(trace)
        return [traces[lap] for lap in self.laps]

    def _finish(self, laps: Sequence[Lap], jobs: int) -> Iterable[Trace]:
        if jobs == 1 or len(laps) < 2:
            for lap in laps:
                yield _run(lap, self)
            return
        with ProcessPoolExecutor(min(jobs, len(laps)), initializer=_prepare, initargs=(self,)) as pool:
            futures = [pool.submit(_run, lap) for lap in laps]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


_RACE: list[Race] = []  # the comparison, in a process of the pool


def _prepare(race: Race) -> None:
    _RACE[:] = [race]


def _run(lap: Lap, race: Race | None = None) -> Trace:
    race = race or _RACE[0]
    return simulate(lap.strategy, race.recordings[lap.space], lap.seed, race.evaluations, race.window)


def _lap(trace: Trace) -> Lap:
    return Lap(trace.strategy, trace.space, trace.seed)


class Log:
    """Finished runs, one JSON object per line; runs of other recordings, budgets or windows are ignored."""

    def __init__(self, folder: Path, race: Race):
        self._path = folder / TRACES
        self._race = race
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot create {folder}: {error.strerror}; choose another --out") from None

    def known(self) -> dict[Lap, Trace]:
        """The stored runs of this comparison."""
        found = {}
        for line in self._path.read_text("utf-8").split("\n")[1:] if self._path.exists() else ():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # a line that was cut short by a kill
            fields = entry["trace"]
            if "seconds" not in fields:
                continue  # of a version that did not store them
            sequences = {name: tuple(fields[name]) for name in ("best_us", "operators", "seconds")}
            trace = Trace(**{**fields, **sequences})
            if trace.space in self._race.recordings and entry["of"] == self._conditions(trace.space):
                found[_lap(trace)] = trace
        return found

    def append(self, trace: Trace) -> None:
        """Stores a run."""
        line = json.dumps({"of": self._conditions(trace.space), "trace": asdict(trace)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}")  # the line break comes first, so that a truncated line does not affect the next one

    def _conditions(self, space: str) -> list[object]:
        return [self._race.recordings[space].digest, self._race.evaluations, self._race.window]
