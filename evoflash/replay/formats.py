"""Reads recordings from files: CSV, Kernel Tuner's cache, T4.

- CSV (.csv, .csv.gz): one column per parameter, then `time_ms`, and optionally `status`, `compile_ms`, `bench_ms`.
- Kernel Tuner's cache (.json, .json.gz): https://kerneltuner.github.io/kernel_tuner, `util.process_cache`.
- T4 results (.json, .json.gz): https://github.com/odgaard/TuningSchema, results-schema 1.0.0.

The readers of the formats return the values of the objective as they are in the file; `read` converts them to times
(`objective`). A configuration whose value is missing, NaN or infinite is a failure.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from evoflash.core.evaluation import BuildReport, Evaluation, Timing
from evoflash.core.genome import Gene, Genome
from evoflash.core.status import Stage, Status
from evoflash.errors import UsageError, unknown
from evoflash.replay.objective import Objective
from evoflash.replay.recording import Recording

DURATIONS = ("compile_ms", "bench_ms")  # with the status, the columns of a CSV that are neither parameters nor values
COMPILE_FAILURES = ("CompilationFailedConfig", "compile")
INPUT_KEYS = ("configurationspace", "kernelspecification")  # of a T1 file, without underscores
DEFAULT = "time"
FAILED = "failed"  # the failure of a configuration whose file does not name it


@dataclass(frozen=True)
class Measurement:
    """A configuration as it is in a file.

    Attributes:
        value: of the objective; None for a failure.
        failure: why it failed; empty if it did not.
        build_ms, bench_ms: how long its build and its benchmark took.
    """

    family: str
    genome: Genome
    value: float | None
    failure: str
    build_ms: float
    bench_ms: float

    def evaluation(self, time_ms: float) -> Evaluation:
        """The result, with this time for the value."""
        build, seconds = BuildReport(seconds=self.build_ms / 1e3), self.bench_ms / 1e3
        if self.value is not None:
            time_us = 1e3 * time_ms
            timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1)
            return Evaluation(status=Status.OK, stage=Stage.FULL, build=build, timings=(timing,), seconds=seconds)
        compiled = self.failure not in COMPILE_FAILURES
        return Evaluation(
            status=Status.LAUNCH_FAILED if compiled else Status.BUILD_FAILED,
            stage=Stage.CORRECTNESS if compiled else Stage.BUILD,
            reason=self.failure,
            build=build,
            seconds=seconds,
        )


def read(path: Path, objective: str | None = None, higher_is_better: bool | None = None) -> Recording:
    """Reads a recording from a file.

    Args:
        objective: a column of a CSV, a key of Kernel Tuner's entries or a measurement of T4 results; by default
            `time_ms` of a CSV, and of the others what the file names as its objective.
        higher_is_better: the direction of the objective; by default that of its name (`Objective.of`).

    Raises:
        UsageError: when it cannot be read, has an unknown format or has no such objective.
    """
    name, text = path.name.removesuffix(".gz"), _text(path)
    stem, _, ending = name.rpartition(".")
    family = re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-")[:64] or "recorded"
    try:
        if ending == "csv":
            wanted, measurements = _csv(family, text, objective)
        elif ending == "json":
            wanted, measurements = _json(family, text, objective)
        else:
            raise UsageError(
                f"{path} has an unknown format; use .csv, .json (Kernel Tuner or T4), plain or .gz, or a run"
            )
    except _MisfitError as error:
        raise UsageError(f"{path} does not match its format: {error}; fix the file") from None
    except _NoRecordingError as error:
        raise UsageError(
            f"{path} {error}; use T4 results, a Kernel Tuner cache, a CSV, or the number of a run"
        ) from None
    except _NoObjectiveError as error:
        raise UsageError(f"{path}: {unknown('objective', *error.args)}") from None
    first: dict[tuple[str, str], Measurement] = {}
    for each in measurements:
        first.setdefault((each.family, each.genome.digest), each)
    times_ms = _times(list(first.values()), Objective.of(wanted, higher_is_better))
    rows = [
        (each.family, each.genome, each.evaluation(time)) for each, time in zip(first.values(), times_ms, strict=True)
    ]
    return Recording.of(stem, rows)


def _times(measurements: Sequence[Measurement], objective: Objective) -> list[float]:
    """The times by which strategies see the values; NaN for failures."""
    times = np.array([math.nan if each.value is None else each.value for each in measurements])
    right = ~np.isnan(times)
    if right.any():
        times[right] = objective.times(times[right])
    return times.tolist()


class _MisfitError(Exception):
    """The content does not match its format; the message says where."""


class _NoRecordingError(Exception):
    """The file is valid JSON of another kind; the message says which."""


class _NoObjectiveError(Exception):
    """The wanted objective is not in the file; the arguments are its name and the known names."""


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; check the path") from None


def _csv(family: str, text: str, objective: str | None) -> tuple[str, list[Measurement]]:
    try:
        header, *lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line] or [[]]
    except csv.Error as error:
        raise _MisfitError(str(error)) from None
    wanted = objective or "time_ms"
    if wanted not in header:
        if objective is not None:
            raise _NoObjectiveError(wanted, header)
        raise _MisfitError(f"it has no column {wanted!r}")
    if len(set(header)) < len(header):
        raise _MisfitError("two of its columns have the same name")
    parameters = [name for name in header if name not in (wanted, "time_ms", "status", *DURATIONS)]
    measurements = []
    for number, line in enumerate(lines, start=1):
        where = f"row {number}"
        if len(line) != len(header):
            raise _MisfitError(f"{where} has {len(line)} fields and the header {len(header)}")
        row = dict(zip(header, line, strict=True))
        value = _parsed(row[wanted], where, wanted) if row[wanted] else None
        status = row.get("status") or ("ok" if row[wanted] else FAILED)
        genome = Genome({name: _gene_of_text(row[name]) for name in parameters})
        durations = [_parsed(row.get(name) or "0", where, name) for name in DURATIONS]
        measurements.append(_measurement(family, genome, value, wanted, "" if status == "ok" else status, *durations))
    return wanted, measurements


def _json(family: str, text: str, objective: str | None) -> tuple[str, list[Measurement]]:
    content = _parsed_json(text)
    if not isinstance(content, dict):
        raise _NoRecordingError("is JSON, but no mapping with 'results' (T4) or 'cache' (Kernel Tuner)")
    if "results" in content:
        return _t4(family, content, objective)
    if "cache" in content or "tune_params_keys" in content:
        return _kernel_tuner(family, content, objective)
    if any(key.lower().replace("_", "") in INPUT_KEYS for key in content):
        raise _NoRecordingError("is a T1 description of a tuning problem, which has no measurements")
    raise _NoRecordingError("is JSON with neither 'results' (T4) nor 'cache' (Kernel Tuner)")


def _parsed_json(text: str) -> Any:
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if not text.rstrip().endswith(","):
                raise _MisfitError(f"it is not valid JSON ({error})") from None
            return json.loads(text.rstrip().rstrip(",") + "}}")  # the cache of an unfinished session ends in a comma
    except RecursionError:
        raise _MisfitError("its JSON is nested too deeply") from None
    except ValueError as error:  # also an integer of more than 4300 digits
        raise _MisfitError(f"it is not valid JSON ({error})") from None


def _kernel_tuner(family: str, content: Mapping[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    names = [_typed(each, str, "'tune_params_keys'") for each in _field(content, "tune_params_keys", list, "the file")]
    entries = _field(content, "cache", dict, "the file")
    for key, entry in entries.items():
        _typed(entry, dict, f"entry {key!r}")
    own = content.get("objective") or DEFAULT
    wanted = objective or _typed(own[0] if isinstance(own, list) else own, str, "'objective'")
    measured = [entry for entry in entries.values() if "__error__" not in entry]
    _require(wanted, [key for entry in measured for key in entry if key not in names])
    measurements = []
    for key, entry in entries.items():
        where = f"entry {key!r}"
        for name in names:
            if name not in entry:
                raise _MisfitError(f"{where} has no parameter {name!r}")
        genome = Genome({name: _gene(entry[name]) for name in names})
        value, failure = _value(entry.get(wanted), f"{wanted!r} of {where}")
        if "__error__" in entry:
            failure = str(entry["__error__"]) or FAILED
        durations = [_duration(entry.get(name), where) for name in ("compile_time", "benchmark_time")]
        measurements.append(_measurement(family, genome, value, wanted, failure, *durations))
    return wanted, measurements


def _t4(family: str, content: Mapping[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    results = [
        _typed(each, dict, f"result {number}")
        for number, each in enumerate(_field(content, "results", list, "the file"))
    ]
    configurations = [_field(each, "configuration", dict, f"result {n}") for n, each in enumerate(results)]
    values = [_t4_values(each, f"result {number}") for number, each in enumerate(results)]
    named = [name for n, each in enumerate(results) for name in _optional_list(each, "objectives", f"result {n}")]
    wanted = objective or _typed(named[0] if named else DEFAULT, str, "an objective")
    _require(wanted, [name for each in values for name in each])
    has_families = _has_families(configurations)
    measurements = []
    for number, (result, configuration, measured) in enumerate(zip(results, configurations, values, strict=True)):
        where = f"result {number}"
        genes = {name: _gene(value) for name, value in configuration.items() if not (has_families and name == "family")}
        value, failure = _value(measured.get(wanted), f"{wanted!r} of {where}")
        invalidity = _field(result, "invalidity", str, where)
        times = _field(result, "times", dict, where)
        compilation = times.get("compilation_time") or times.get("compilation")  # Kernel Tuner writes the latter
        durations = [_duration(compilation, where)]
        durations.append(sum(_duration(each, where) for each in _optional_list(times, "runtimes", where)))
        own = str(configuration["family"]) if has_families else family
        failure = failure if invalidity == "correct" else invalidity or FAILED
        measurements.append(_measurement(own, Genome(genes), value, wanted, failure, *durations))
    return wanted, measurements


def _t4_values(result: Mapping[str, Any], where: str) -> dict[str, Any]:
    measured = [
        _typed(each, dict, f"a measurement of {where}") for each in _optional_list(result, "measurements", where)
    ]
    return {_field(each, "name", str, f"a measurement of {where}"): each.get("value") for each in measured}


def _has_families(configurations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `family` says which parameters a configuration has, as in what `runs export-t4` writes of families."""
    differ = len({frozenset(each) for each in configurations}) > 1
    return differ and all("family" in each for each in configurations)


def _measurement(
    family: str, genome: Genome, value: float | None, objective: str, failure: str, build_ms: float, bench_ms: float
) -> Measurement:
    """A measurement, which is a failure if it says so or has no finite value."""
    if not failure and (value is None or not math.isfinite(value)):
        failure = f"no value of {objective}" if value is None else f"{objective} is {value}"
    failure = failure.encode("utf-8", "backslashreplace").decode()  # JSON may have halves of surrogate pairs
    return Measurement(family, genome, None if failure else value, failure, build_ms, bench_ms)


def _require(objective: str, names: Iterable[str]) -> None:
    """Checks that some configuration has a value of the objective, unless all of them failed without any."""
    known = dict.fromkeys(names)
    if known and objective not in known:
        raise _NoObjectiveError(objective, known)


def _value(value: Any, where: str) -> tuple[float | None, str]:
    """The value of an objective, or the failure that is given instead of it: a word or nothing."""
    if isinstance(value, str):
        return None, value or FAILED
    return (None, "") if value is None else (_float(value, where), "")


def _duration(value: Any, where: str) -> float:
    """A duration; none is 0, and so is the name of a failure that is given instead of it."""
    return _float(value, f"a duration of {where}") if value is not None and not isinstance(value, str) else 0.0


def _float(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(value, "a number", where)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _parsed(text: str, where: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        _refuse(text, "a number", f"{name!r} of {where}")


def _field(mapping: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in mapping:
        raise _MisfitError(f"{where} has no {key!r}")
    return _typed(mapping[key], kind, f"{key!r} of {where}")


def _optional_list(mapping: Mapping[str, Any], key: str, where: str) -> list[Any]:
    return _typed(mapping.get(key) or [], list, f"{key!r} of {where}")


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        _refuse(value, {str: "a string", list: "a list", dict: "a mapping"}[kind], where)
    return value


def _refuse(value: Any, kind: str, where: str) -> NoReturn:
    raise _MisfitError(f"{where} is {value!r:.60}, not {kind}")


def _gene_of_text(text: str) -> Gene:
    for kind in (int, float):
        try:
            return _gene(kind(text), text)
        except ValueError:
            continue
    return text


def _gene(value: Any, text: str | None = None) -> Gene:
    """A gene; what is no number that a float can hold is a word: its text."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and math.isfinite(_float(value, "a gene")):
        return value + 0  # -0.0 becomes 0.0, which equals it
    return json.dumps(value) if text is None else text
