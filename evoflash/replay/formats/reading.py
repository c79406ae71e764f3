"""Reads a recording from a file, of the format that its name and its content tell: CSV, Kernel Tuner's cache or T4.

The readers of the formats return the values of the objective as they are in the file; `read` converts them to times
(`objective`). A configuration whose value is missing, NaN or infinite is a failure.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Genome
from evoflash.errors import UsageError, unknown
from evoflash.replay.formats import kernel_tuner, t4
from evoflash.replay.formats.csv import read_csv
from evoflash.replay.formats.measurement import Measurement
from evoflash.replay.formats.refusals import MisfitError, NoObjectiveError, NoRecordingError
from evoflash.replay.objective import Objective
from evoflash.replay.recording import Recording
from evoflash.space.parameter import Parameter

GZIP = b"\x1f\x8b"  # how gzip begins; names do not tell: browsers unpack, and people rename


def read(path: Path, objective: str | None = None, higher_is_better: bool | None = None) -> Recording:
    """Reads a recording from a file.

    Args:
        objective: a column of a CSV, a key of Kernel Tuner's entries or a measurement of T4 results; by default
            `time_ms` of a CSV, and of the others what the file names as its objective.
        higher_is_better: the direction of the objective; by default that of its name (`Objective.of`).

    Raises:
        UsageError: when it cannot be read, has an unknown format or has no such objective.
    """
    name, text = path.name.removesuffix(".gz"), text_of(path)
    stem, _, ending = name.rpartition(".")
    parameters: t4.Parameters = {}
    family = re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-")[:64] or "recorded"
    try:
        if ending == "csv":
            wanted, measurements = read_csv(family, text, objective)
        elif ending == "json":
            content = parsed(text)
            wanted, measurements = _json(family, content, objective)
            parameters = t4.parameters(content)
        else:
            raise UsageError(
                f"{path} has an unknown format; use .csv, .json (Kernel Tuner or T4), plain or .gz, or a run"
            )
    except MisfitError as error:
        raise UsageError(f"{path} does not match its format: {error}; fix the file") from None
    except NoRecordingError as error:
        raise UsageError(
            f"{path} {error}; use T4 results, a Kernel Tuner cache, a CSV, or the number of a run"
        ) from None
    except NoObjectiveError as error:
        raise UsageError(f"{path}: {unknown('objective', *error.args)}") from None
    first: dict[tuple[str, str], Measurement] = {}
    for each in measurements:
        first.setdefault((each.family, each.genome.digest), each)
    times_ms = _times(list(first.values()), Objective.of(wanted, higher_is_better))
    rows = [
        (each.family, each.genome, each.evaluation(time)) for each, time in zip(first.values(), times_ms, strict=True)
    ]
    return Recording.of(stem, rows, _occurring(parameters, rows))


def _occurring(
    parameters: t4.Parameters, rows: Sequence[tuple[str, Genome, Evaluation]]
) -> dict[str, dict[str, Parameter]]:
    """The declared parameters without the values that no configuration has: a part of a space may be recorded."""
    genomes: dict[str, list[Genome]] = {family: [] for family in parameters}
    for family, genome, _ in rows:
        genomes.setdefault(family, []).append(genome)
    return {
        family: {
            name: _restricted(each, [genome.get(name) for genome in genomes[family]]) for name, each in own.items()
        }
        for family, own in parameters.items()
        if genomes[family]
    }


def _restricted(parameter: Parameter, values: Sequence[object]) -> Parameter:
    occurring = {(type(value), value) for value in values}
    kept = tuple(each for each in parameter.values if (type(each), each) in occurring)
    return parameter.model_copy(update={"values": kept})


def _times(measurements: Sequence[Measurement], objective: Objective) -> list[float]:
    """The times by which strategies see the values; NaN for failures."""
    times = np.array([math.nan if each.value is None else each.value for each in measurements])
    right = ~np.isnan(times)
    if right.any():
        times[right] = objective.times(times[right])
    return times.tolist()


def text_of(path: Path) -> str:
    """The text of a file, which may be packed.

    Raises:
        UsageError: when it cannot be read.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; check the path") from None


def parsed(text: str) -> dict[str, Any]:
    """The mapping that a JSON text holds.

    Raises:
        MisfitError: when it is no JSON.
        NoRecordingError: when it holds no mapping.
    """
    content = _parsed_json(text)
    if not isinstance(content, dict):
        raise NoRecordingError("is JSON, but no mapping with 'results' (T4) or 'cache' (Kernel Tuner)")
    return content


def _json(family: str, content: dict[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    if t4.is_results(content):
        return t4.read_results(family, content, objective)
    if kernel_tuner.is_cache(content):
        return kernel_tuner.read_cache(family, content, objective)
    if t4.is_input(content):
        raise NoRecordingError("is a T1 description of a tuning problem, which has no measurements")
    raise NoRecordingError("is JSON with neither 'results' (T4) nor 'cache' (Kernel Tuner)")


def _parsed_json(text: str) -> Any:
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if not text.rstrip().endswith(","):
                raise MisfitError(f"it is not valid JSON ({error})") from None
            return json.loads(text.rstrip().rstrip(",") + "}}")  # the cache of an unfinished session ends in a comma
    except RecursionError:
        raise MisfitError("its JSON is nested too deeply") from None
    except ValueError as error:  # also an integer of more than 4300 digits
        raise MisfitError(f"it is not valid JSON ({error})") from None
