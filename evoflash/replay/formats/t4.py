"""T4 results, which other tuners read and write too: https://github.com/odgaard/TuningSchema, results-schema 1.0.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.replay.formats.fields import duration, field, gene, optional_list, require, typed, value_or_failure
from evoflash.replay.formats.measurement import FAILED, Measurement, measurement

VERSION = "1.0.0"
DEFAULT = "time"
INPUT_KEYS = ("configurationspace", "kernelspecification")  # of a T1 file, without underscores
INVALIDITY = {
    Status.OK: "correct",
    Status.DUPLICATE: "correct",
    Status.BUILD_FAILED: "compile",
    Status.OVER_BUDGET: "constraints",
    Status.LAUNCH_FAILED: "runtime",
    Status.CRASHED: "runtime",
    Status.WRONG: "correctness",
    Status.BUILD_TIMEOUT: "timeout",
    Status.HUNG: "timeout",
}  # the schema's closed list


def is_results(content: Mapping[str, Any]) -> bool:
    """Whether JSON is T4 results, by its keys."""
    return "results" in content


def is_input(content: Mapping[str, Any]) -> bool:
    """Whether JSON is a T1 file: a tuning problem, which T4 results may belong to."""
    return any(key.lower().replace("_", "") in INPUT_KEYS for key in content)


def read_results(family: str, content: Mapping[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    """The name of the objective, by default the file's own, and a measurement for each result.

    Raises:
        MisfitError: when a field is missing or has another type.
        NoObjectiveError: when no result has the objective.
    """
    results = [
        typed(each, dict, f"result {number}") for number, each in enumerate(field(content, "results", list, "the file"))
    ]
    configurations = [field(each, "configuration", dict, f"result {n}") for n, each in enumerate(results)]
    values = [_values(each, f"result {number}") for number, each in enumerate(results)]
    named = [name for n, each in enumerate(results) for name in optional_list(each, "objectives", f"result {n}")]
    wanted = objective or typed(named[0] if named else DEFAULT, str, "an objective")
    require(wanted, [name for each in values for name in each])
    has_families = _has_families(configurations)
    measurements = []
    for number, (result, configuration, measured) in enumerate(zip(results, configurations, values, strict=True)):
        where = f"result {number}"
        genes = {name: gene(value) for name, value in configuration.items() if not (has_families and name == "family")}
        value, failure = value_or_failure(measured.get(wanted), f"{wanted!r} of {where}")
        invalidity = field(result, "invalidity", str, where)
        times = field(result, "times", dict, where)
        compilation = times.get("compilation_time") or times.get("compilation")  # Kernel Tuner writes the latter
        durations = [duration(compilation, where)]
        durations.append(sum(duration(each, where) for each in optional_list(times, "runtimes", where)))
        own = str(configuration["family"]) if has_families else family
        failure = failure if invalidity == "correct" else invalidity or FAILED
        measurements.append(measurement(own, Genome(genes), value, wanted, failure, *durations))
    return wanted, measurements


def _values(result: Mapping[str, Any], where: str) -> dict[str, Any]:
    measured = [typed(each, dict, f"a measurement of {where}") for each in optional_list(result, "measurements", where)]
    return {field(each, "name", str, f"a measurement of {where}"): each.get("value") for each in measured}


def _has_families(configurations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `family` says which parameters a configuration has, as in what `runs export-t4` writes of families."""
    differ = len({frozenset(each) for each in configurations}) > 1
    return differ and all("family" in each for each in configurations)


def document(pairs: Iterable[tuple[Candidate, Evaluation]]) -> dict[str, Any]:
    """The T4 document of candidates; the objective is `time` in milliseconds.

    With more than one family, `family` is a parameter too.
    """
    recorded = list(pairs)
    has_families = len({candidate.family for candidate, _ in recorded}) > 1
    return {"schema_version": VERSION, "results": [_result(*pair, has_families) for pair in recorded]}


def _result(candidate: Candidate, evaluation: Evaluation, has_families: bool) -> dict[str, Any]:
    build, warm, fitness = evaluation.build, evaluation.warm, evaluation.fitness_us
    is_correct = fitness is not None
    status = evaluation.status if is_correct or evaluation.status is not Status.DUPLICATE else Status.WRONG
    samples = warm.samples if warm is not None else ()
    return {
        "configuration": {**({"family": candidate.family} if has_families else {}), **candidate.genome},
        "times": {
            "compilation_time": 1e3 * (build.seconds if build is not None else 0.0),
            "runtimes": [sample / 1e3 for sample in samples],
        },
        "invalidity": INVALIDITY[status],
        "correctness": int(is_correct),
        "measurements": [{"name": "time", "value": fitness / 1e3, "unit": "ms"}] if fitness is not None else [],
        "objectives": ["time"],
    }
