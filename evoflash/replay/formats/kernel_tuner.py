"""Kernel Tuner's cache: https://kerneltuner.github.io/kernel_tuner, `util.process_cache`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoflash.core.genome import Genome
from evoflash.replay.formats.fields import duration, field, gene, require, typed, value_or_failure
from evoflash.replay.formats.measurement import FAILED, Measurement, measurement
from evoflash.replay.formats.refusals import MisfitError

DEFAULT = "time"


def is_cache(content: Mapping[str, Any]) -> bool:
    """Whether JSON is a cache of Kernel Tuner, by its keys."""
    return "cache" in content or "tune_params_keys" in content


def read_cache(family: str, content: Mapping[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    """The name of the objective, by default the cache's own, and a measurement for each entry.

    Raises:
        MisfitError: when a field is missing or has another type.
        NoObjectiveError: when no entry has the objective.
    """
    names = [typed(each, str, "'tune_params_keys'") for each in field(content, "tune_params_keys", list, "the file")]
    entries = field(content, "cache", dict, "the file")
    for key, entry in entries.items():
        typed(entry, dict, f"entry {key!r}")
    own = content.get("objective") or DEFAULT
    wanted = objective or typed(own[0] if isinstance(own, list) else own, str, "'objective'")
    measured = [entry for entry in entries.values() if "__error__" not in entry]
    require(wanted, [key for entry in measured for key in entry if key not in names])
    measurements = []
    for key, entry in entries.items():
        where = f"entry {key!r}"
        for name in names:
            if name not in entry:
                raise MisfitError(f"{where} has no parameter {name!r}")
        genome = Genome({name: gene(entry[name]) for name in names})
        value, failure = value_or_failure(entry.get(wanted), f"{wanted!r} of {where}")
        if "__error__" in entry:
            failure = str(entry["__error__"]) or FAILED
        durations = [duration(entry.get(name), where) for name in ("compile_time", "benchmark_time")]
        measurements.append(measurement(family, genome, value, wanted, failure, *durations))
    return wanted, measurements
