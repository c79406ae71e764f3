"""Writes a run as a T4 results file, which other tuners can replay (results-schema 1.0.0, TuningSchema)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Status

VERSION = "1.0.0"
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
