"""Kernel Tuner's cache: https://kerneltuner.github.io/kernel_tuner, `util.process_cache`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Gene, Genome
from evoflash.core.status import Status
from evoflash.replay.formats.fields import duration, field, gene, require, typed, value_or_failure
from evoflash.replay.formats.measurement import FAILED, Measurement, measurement
from evoflash.replay.formats.refusals import MisfitError

DEFAULT = "time"
ERRORS = {
    Status.BUILD_FAILED: "CompilationFailedConfig",
    Status.BUILD_TIMEOUT: "CompilationFailedConfig",
    Status.OVER_BUDGET: "InvalidConfig",
}  # its names of failures; others are "RuntimeFailedConfig"


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
        build_ms, bench_ms = (duration(entry.get(name), where) for name in ("compile_time", "benchmark_time"))
        measurements.append(measurement(family, genome, value, wanted, failure, build_ms, bench_ms))
    return wanted, measurements


def document(
    family: str, name: str, values: Mapping[str, Sequence[Gene]], results: Iterable[tuple[Genome, Evaluation]]
) -> dict[str, Any]:
    """The cache of one family, on which Kernel Tuner's `tune_cache` and its simulation mode run.

    Args:
        name: of the recording; it stands for the device, which Kernel Tuner wants to be named.
        values: the values of each parameter, in the order of the parameters.
    """
    names = list(values)
    return {
        "device_name": name,
        "kernel_name": family,
        "problem_size": [1, 1, 1],  # of a grid, which the simulation does not need
        "tune_params_keys": names,
        "tune_params": {each: list(own) for each, own in values.items()},
        "objective": DEFAULT,
        "cache": {",".join(str(genome[each]) for each in names): _entry(genome, result) for genome, result in results},
    }


def _entry(genome: Genome, evaluation: Evaluation) -> dict[str, Any]:
    build, fitness_us = evaluation.build, evaluation.fitness_us
    return {
        **genome,
        DEFAULT: fitness_us / 1e3 if fitness_us is not None else ERRORS.get(evaluation.status, "RuntimeFailedConfig"),
        "compile_time": 1e3 * build.seconds if build is not None else 0.0,
        "verification_time": 0.0,  # a part of the next
        "benchmark_time": 1e3 * evaluation.seconds,
        "strategy_time": 0.0,
        "framework_time": 0.0,
    }
