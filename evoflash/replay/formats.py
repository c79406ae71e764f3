"""Reads recordings from files: CSV, Kernel Tuner's cache, T4.

- CSV (.csv, .csv.gz): one column per parameter, then `time_ms`, and optionally `status`, `compile_ms`, `bench_ms`.
- Kernel Tuner's cache (.json, .json.gz): https://kerneltuner.github.io/kernel_tuner, `util.process_cache`.
- T4 results (.json, .json.gz): https://github.com/odgaard/TuningSchema, results-schema 1.0.0.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evoflash.core.evaluation import BuildReport, Evaluation, Timing
from evoflash.core.genome import Gene, Genome
from evoflash.core.status import Stage, Status
from evoflash.errors import UsageError
from evoflash.replay.recording import Recording

MEASURED = ("time_ms", "status", "compile_ms", "bench_ms")  # columns of a CSV that are not parameters
COMPILE_FAILURES = ("CompilationFailedConfig", "compile")
Row = tuple[str, Genome, Evaluation]


def read(path: Path) -> Recording:
    """Reads a recording from a file.

    Raises:
        UsageError: when it cannot be read or has an unknown format.
    """
    name = path.name.removesuffix(".gz")
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; check the path") from None
    stem = name.rpartition(".")[0]
    try:
        if name.endswith(".csv"):
            return Recording.of(stem, list(_csv_rows(stem, text)))
        if name.endswith(".json"):
            return Recording.of(stem, list(_json_rows(stem, text)))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} does not match its format ({error!r}); fix the file") from None
    raise UsageError(f"{path} has an unknown format; use .csv, .json (Kernel Tuner or T4), plain or .gz, or a run")


def _csv_rows(family: str, text: str) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(text)):
        genome = {name: _value(value) for name, value in row.items() if name not in MEASURED}
        time_ms = float(row["time_ms"]) if row["time_ms"] else None
        status = row.get("status") or ("ok" if time_ms is not None else "failed")
        build_ms, bench_ms = (float(row.get(name) or 0) for name in ("compile_ms", "bench_ms"))
        yield family, Genome(genome), _evaluation(status, "ok", time_ms, build_ms, bench_ms)


def _json_rows(family: str, text: str) -> Iterator[Row]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:  # the cache of an unfinished session ends in a comma
        content = json.loads(text.rstrip().rstrip(",") + "}}")
    if "results" in content:
        results = content["results"]
        has_families = _has_families([each["configuration"] for each in results])
        return (_t4_row(family, each, has_families) for each in results)
    names = content["tune_params_keys"]
    objective = content.get("objective") or "time"
    return (_kernel_tuner_row(family, each, names, objective) for each in content["cache"].values())


def _kernel_tuner_row(family: str, entry: Mapping[str, Any], names: list[str], objective: str) -> Row:
    genome = Genome({name: _gene(entry[name]) for name in names})
    time = entry.get("__error__", entry.get(objective))
    failed = isinstance(time, str)  # the name of an error instead of a time
    build_ms, bench_ms = (float(entry.get(name) or 0) for name in ("compile_time", "benchmark_time"))
    return family, genome, _evaluation(time if failed else "ok", "ok", None if failed else time, build_ms, bench_ms)


def _has_families(configurations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `family` says which parameters a configuration has, as in what `runs export-t4` writes of families."""
    differ = len({frozenset(each) for each in configurations}) > 1
    return differ and all("family" in each for each in configurations)


def _t4_row(family: str, result: Mapping[str, Any], has_families: bool) -> Row:
    times = result["times"]
    wanted = (result.get("objectives") or ["time"])[0]
    values = {each["name"]: each["value"] for each in result.get("measurements", ())}
    value = values.get(wanted)
    time_ms = float(value) if isinstance(value, int | float) else None
    configuration = dict(result["configuration"])
    if has_families:
        family = str(configuration.pop("family"))
    genome = Genome({name: _gene(value) for name, value in configuration.items()})
    bench_ms = sum(each for each in times.get("runtimes", ()) if isinstance(each, int | float))
    build_ms = float(times.get("compilation_time") or times.get("compilation") or 0)  # Kernel Tuner writes the latter
    return family, genome, _evaluation(result["invalidity"], "correct", time_ms, build_ms, bench_ms)


def _evaluation(status: str, good: str, time_ms: float | None, build_ms: float, bench_ms: float) -> Evaluation:
    """A result from the status in the file, which is `good` if there was no failure."""
    build, seconds = BuildReport(seconds=build_ms / 1e3), bench_ms / 1e3
    if status == good and time_ms is not None:
        time_us = 1e3 * time_ms
        timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1)
        return Evaluation(status=Status.OK, stage=Stage.FULL, build=build, timings=(timing,), seconds=seconds)
    compiled = status not in COMPILE_FAILURES
    return Evaluation(
        status=Status.LAUNCH_FAILED if compiled else Status.BUILD_FAILED,
        stage=Stage.CORRECTNESS if compiled else Stage.BUILD,
        reason=status,
        build=build,
        seconds=seconds,
    )


def _value(text: str) -> Gene:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _gene(value: Any) -> Gene:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
