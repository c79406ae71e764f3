"""T4 results, which other tuners read and write too: https://github.com/odgaard/TuningSchema, results-schema 1.0.0.

The schema allows for more fields than it names. We write the status of a configuration and the reason of a failure
beside its `invalidity`, and `metadata` beside the results: the families, with their parameters, and what was measured,
how and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.replay.formats.fields import duration, field, gene, optional_list, require, typed, value_or_failure
from evoflash.replay.formats.measurement import FAILED, Measurement, measurement
from evoflash.replay.formats.refusals import MisfitError
from evoflash.space.declaration import Family
from evoflash.space.parameter import Name, Parameter

VERSION = "1.0.0"
DEFAULT = "time"
INPUT_KEYS = ("configurationspace", "kernelspecification")  # of a T1 file, without underscores
INVALIDITY = {
    Status.OK: "correct",
    Status.BUILD_FAILED: "compile",
    Status.OVER_BUDGET: "constraints",
    Status.LAUNCH_FAILED: "runtime",
    Status.CRASHED: "runtime",
    Status.WRONG: "correctness",
    Status.MISMEASURED: "correctness",
    Status.BUILD_TIMEOUT: "timeout",
    Status.HUNG: "timeout",
}  # the schema's closed list
FIGURES = {"registers": "", "shared_bytes": "B", "spill_bytes": "B", "stack_bytes": "B"}  # of a build, with units
REASON_CHARACTERS = 200

Parameters = Mapping[str, Mapping[str, Parameter]]  # by family and name
_PARAMETERS = TypeAdapter(dict[Family, dict[Name, Parameter]])


def is_results(content: Mapping[str, Any]) -> bool:
    """Whether JSON is T4 results, by its keys."""
    return "results" in content


def is_input(content: Mapping[str, Any]) -> bool:
    """Whether JSON is a T1 file: a tuning problem, which T4 results may belong to."""
    return any(key.lower().replace("_", "") in INPUT_KEYS for key in content)


def parameters(content: Mapping[str, Any]) -> dict[str, dict[str, Parameter]]:
    """The families that our own files name, with their parameters; none in files of others.

    Raises:
        MisfitError: for a family that is no set of parameters.
    """
    metadata = content.get("metadata")
    if not isinstance(metadata, Mapping) or "families" not in metadata:
        return {}
    try:
        return _PARAMETERS.validate_python(metadata["families"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MisfitError(f"'families' of 'metadata': {where}: {first['msg']}") from None


def read_results(family: str, content: Mapping[str, Any], objective: str | None) -> tuple[str, list[Measurement]]:
    """The name of the objective, by default the file's own, and a measurement for each result.

    Args:
        family: the name of the only family, where the file does not name it.

    Raises:
        MisfitError: when a field is missing or has another type.
        NoObjectiveError: when no result has the objective.
    """
    results = _results(content)
    families = family_of_each(family, content)
    values = [_values(each, f"result {number}") for number, each in enumerate(results)]
    named = [name for n, each in enumerate(results) for name in optional_list(each, "objectives", f"result {n}")]
    wanted = objective or typed(named[0] if named else DEFAULT, str, "an objective")
    require(wanted, [name for each in values for name in each])
    measurements = []
    for number, (result, (own, genome), measured) in enumerate(zip(results, families, values, strict=True)):
        where = f"result {number}"
        value, failure = value_or_failure(measured.get(wanted), f"{wanted!r} of {where}")
        invalidity = field(result, "invalidity", str, where)
        times = field(result, "times", dict, where)
        compilation = times.get("compilation_time") or times.get("compilation")  # Kernel Tuner writes the latter
        benchmark = times.get("benchmark")
        if benchmark is None:
            benchmark = sum(duration(each, where) for each in optional_list(times, "runtimes", where))
        status = _status(result)
        if invalidity != "correct":
            failure = (str(result.get("reason") or "") if status is not None else "") or invalidity or FAILED
        measurements.append(
            measurement(
                own,
                genome,
                value,
                wanted,
                failure,
                duration(compilation, where),
                duration(benchmark, where),
                status=status,
                figures=BuildReport.model_validate({name: _count(measured.get(name)) for name in FIGURES}),
            )
        )
    return wanted, measurements


def family_of_each(family: str, content: Mapping[str, Any]) -> list[tuple[str, Genome]]:
    """The family and the genome of each result.

    Args:
        family: the name of the only family, where the file does not name it.

    Raises:
        MisfitError: when a field is missing or has another type.
    """
    configurations = [field(each, "configuration", dict, f"result {n}") for n, each in enumerate(_results(content))]
    named = parameters(content)
    is_named = _has_families(configurations, named)
    only = next(iter(named)) if len(named) == 1 else family
    return [
        (
            str(each["family"]) if is_named else only,
            Genome({name: gene(value) for name, value in each.items() if not (is_named and name == "family")}),
        )
        for each in configurations
    ]


def _results(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    version = str(content.get("schema_version", VERSION))  # some tuners leave it out
    if version.partition(".")[0] != VERSION.partition(".")[0]:
        raise MisfitError(f"'schema_version' is {version}, and only {VERSION.partition('.')[0]}.x is known")
    return [typed(each, dict, f"result {n}") for n, each in enumerate(field(content, "results", list, "the file"))]


def _status(result: Mapping[str, Any]) -> Status | None:
    """The status that we have written; None in files of others."""
    return next((each for each in Status if each == result.get("status")), None)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _values(result: Mapping[str, Any], where: str) -> dict[str, Any]:
    measured = [typed(each, dict, f"a measurement of {where}") for each in optional_list(result, "measurements", where)]
    return {field(each, "name", str, f"a measurement of {where}"): each.get("value") for each in measured}


def _has_families(configurations: Sequence[Mapping[str, Any]], named: Parameters) -> bool:
    """Whether `family` says which parameters a configuration has, as in what we write of several families."""
    if named:
        says_family = not any("family" in each for each in named.values())
    else:
        says_family = len({frozenset(each) for each in configurations}) > 1
    return says_family and all("family" in each for each in configurations)


def document(
    pairs: Iterable[tuple[Candidate, Evaluation]], families: Parameters, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The T4 document of candidates; the objective is `time` in milliseconds.

    Args:
        families: the parameters of each family. With more than one, `family` is a parameter of a configuration, too.
        metadata: is written beside the families.
    """
    return assembled(results(pairs), families, metadata or {})


def assembled(
    rows: Iterable[tuple[str, dict[str, Any]]], families: Parameters, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of results with their families, as `results` makes them."""
    rows = list(rows)
    has_families = len({family for family, _ in rows} | set(families)) > 1
    named = {family: {"family": family} if has_families else {} for family, _ in rows}
    declared = {
        family: {name: each.model_dump(mode="json", exclude={"about"}) for name, each in own.items()}
        for family, own in families.items()
    }
    for own in declared.values():
        for each in own.values():
            if each["kind"] == "flag":
                del each["values"]  # as in a declaration
    return {
        "schema_version": VERSION,
        "metadata": {"timeunit": "milliseconds", **metadata, "families": declared},
        "results": [
            {**result, "configuration": {**named[family], **result["configuration"]}} for family, result in rows
        ],
    }


def results(pairs: Iterable[tuple[Candidate, Evaluation]]) -> list[tuple[str, dict[str, Any]]]:
    """Family and T4 result of each candidate; a duplicate has the verdict and the times of its original."""
    recorded = list(pairs)
    by_index = {candidate.index: evaluation for candidate, evaluation in recorded}
    return [
        (candidate.family, _result(candidate.genome, each, _original(each, by_index))) for candidate, each in recorded
    ]


def _original(evaluation: Evaluation, by_index: Mapping[int, Evaluation]) -> Evaluation:
    """The evaluation of a duplicate's original, where it is known; of others their own."""
    if evaluation.status is not Status.DUPLICATE or evaluation.duplicate_of is None:
        return evaluation
    return by_index.get(evaluation.duplicate_of, evaluation)


def _result(genome: Genome, evaluation: Evaluation, original: Evaluation) -> dict[str, Any]:
    build, fitness = evaluation.build or original.build, original.fitness_us
    is_correct = fitness is not None
    status = Status.OK if is_correct else original.status
    measured = [] if fitness is None else [{"name": "time", "value": _rounded(fitness / 1e3), "unit": "ms"}]
    cold = next((each for each in original.timings if each.regime == "cold" and not each.shape), None)
    if is_correct and cold is not None:
        measured.append({"name": "time_cold", "value": _rounded(cold.p50_us / 1e3), "unit": "ms"})
    figures = {name: getattr(build, name) for name in FIGURES} if build is not None else {}
    measured += [
        {"name": name, "value": value, "unit": FIGURES[name]} for name, value in figures.items() if value is not None
    ]
    samples = original.warm.samples if original.warm is not None else ()
    result = {
        "configuration": dict(genome),
        "times": {
            "compilation_time": _rounded(1e3 * (evaluation.build.seconds if evaluation.build is not None else 0.0)),
            "runtimes": [_rounded(sample / 1e3) for sample in samples],
            "benchmark": _rounded(1e3 * evaluation.seconds),
        },
        "invalidity": INVALIDITY.get(status, "correctness"),  # a duplicate whose original is not here
        "correctness": int(is_correct),
        "measurements": measured,
        "objectives": ["time"],
        "status": status.value,
    }
    if evaluation.status is Status.DUPLICATE:
        result["duplicate"] = True
    if evaluation.build is not None and evaluation.build.cached:
        result["cached"] = True
    if not is_correct:
        result["reason"] = original.reason[:REASON_CHARACTERS]
    return result


def _rounded(value: float) -> float:
    """To six digits: a file of ten thousands of points is half as large, and no clock is that exact."""
    return float(f"{value:.6g}")
