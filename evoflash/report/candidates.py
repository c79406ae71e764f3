"""Reports on one candidate, and on the difference between two."""

import difflib
from datetime import datetime
from typing import Any

from evoflash.core.evaluation import Accuracy, BuildReport, Evaluation
from evoflash.core.finals import Final
from evoflash.core.genome import Gene
from evoflash.core.record import Document
from evoflash.report.lineage import genome_changes, speedup
from evoflash.report.run_sheets import moment
from evoflash.report.tables import Sheet, digits, duration, times, us
from evoflash.store import StoredCandidate


class CandidateDocument(Document):
    """A candidate and its evidence.

    Attributes:
        candidate: its id.
        run: its run.
        index: its number in the run.
        family: the template that rendered it.
        genome: the parameter values that it was rendered with.
        genome_digest: twelve hexadecimal digits that identify the genome.
        operator: how it was proposed.
        parents: ids of the candidates that it was derived from.
        p50_us: its median time in the search, microseconds; None for a failure.
        evaluation: what the search found, including the compiler's log.
        final: its result in the finals, if it took part.
        source_digest: SHA-256 of its source.
        language: "c++", "cuda" or "python".
        source: the rendered file.
        finished_at: when it was evaluated, UTC.
    """

    candidate: int
    run: int
    index: int
    family: str
    genome: dict[str, Gene]
    genome_digest: str
    operator: str
    parents: tuple[int, ...]
    p50_us: float | None
    evaluation: Evaluation
    final: Final | None
    source_digest: str | None
    language: str | None
    source: str | None
    finished_at: datetime


class DiffDocument(Document):
    """The difference between two candidates.

    Attributes:
        a, b: the ids of the first and the second.
        genes: name -> (value of the first, of the second), of the genes that differ; None where a gene is missing.
        diff: a unified diff of the sources; empty when they are equal.
        p50_us: the median times of both in the search, microseconds; None for a failure.
        speedup: how many times faster the second is; None if either has no time.
    """

    a: int
    b: int
    genes: dict[str, tuple[Any, Any]]
    diff: str
    p50_us: tuple[float | None, float | None]
    speedup: float | None


def candidate_sheets(stored: StoredCandidate, final: Final | None) -> list[Sheet]:
    """A candidate and its evidence as tables; `final` is its result in the finals, if any."""
    candidate, evaluation = stored.candidate, stored.evaluation
    head = {
        "run": stored.run_id,
        "number": candidate.index,
        "family": candidate.family,
        "operator": candidate.operator,
        "parents": list(stored.parent_ids) or None,
        "status": f"{evaluation.status.value} at {evaluation.stage.value}{' (quick)' if evaluation.quick else ''}",
        "reason": evaluation.reason or None,
        "duplicate of number": evaluation.duplicate_of,
        "p50": f"{us(stored.fitness_us)} us" if stored.fitness_us is not None else None,
        "evaluated in": duration(evaluation.seconds),
        "finished": moment(stored.finished_at),
        "source": stored.source_digest and f"{stored.source_digest[:12]}, {stored.language}; print it with --source",
    }
    checks = [("search", each) for each in evaluation.accuracy]
    checks += [("finals", each) for each in final.accuracy] if final is not None else []
    timings = [("search", each) for each in evaluation.timings]
    timings += [("finals", final.cold)] if final is not None and final.cold is not None else []
    return [
        Sheet.facts(f"candidate {stored.id}", {name: value for name, value in head.items() if value is not None}),
        Sheet.facts("genome", candidate.genome),
        Sheet.facts("build", _build(evaluation.build) if evaluation.build is not None else {}),
        Sheet.of(
            "accuracy",
            "gate|case|>max error|>bound|>SDPA|>rms error|>bound|>SDPA|worst at",
            [(gate, *_accuracy(each)) for gate, each in checks],
        ),
        Sheet.of(
            "times, us",
            "gate|regime|>p50|>p90|>p99|>samples|>launches a sample",
            [
                (
                    gate,
                    f"{each.regime} {each.shape}".strip(),
                    us(each.p50_us),
                    us(each.p90_us),
                    us(each.p99_us),
                    len(each.samples),
                    each.launches,
                )
                for gate, each in timings
            ],
        ),
        *(_final(final) if final is not None else ()),
    ]


def candidate_document(stored: StoredCandidate, final: Final | None) -> CandidateDocument:
    """A candidate for `--json`; `final` is its result in the finals, if any."""
    candidate = stored.candidate
    return CandidateDocument(
        candidate=stored.id,
        run=stored.run_id,
        index=candidate.index,
        family=candidate.family,
        genome=dict(candidate.genome),
        genome_digest=candidate.genome.digest,
        operator=candidate.operator,
        parents=stored.parent_ids,
        p50_us=stored.fitness_us,
        evaluation=stored.evaluation,
        final=final,
        source_digest=stored.source_digest,
        language=stored.language,
        source=stored.source,
        finished_at=stored.finished_at,
    )


def source_diff(old: StoredCandidate, new: StoredCandidate) -> str:
    """A unified diff of the rendered sources; empty when they are equal."""
    before, after = ((each.source or "").splitlines() for each in (old, new))
    diff = difflib.unified_diff(before, after, f"candidate-{old.id}", f"candidate-{new.id}", lineterm="")
    return "\n".join(diff)


def diff_document(old: StoredCandidate, new: StoredCandidate) -> DiffDocument:
    """The difference between two candidates, for `--json`."""
    return DiffDocument(
        a=old.id,
        b=new.id,
        genes=genome_changes(old.candidate, new.candidate),
        diff=source_diff(old, new),
        p50_us=(old.fitness_us, new.fitness_us),
        speedup=speedup(old, new),
    )


def genes_sheet(old: StoredCandidate, new: StoredCandidate) -> Sheet:
    """The genes that differ."""
    changes = genome_changes(old.candidate, new.candidate)
    return Sheet.of("genome", f"|{old.id}|{new.id}", [(name, *values) for name, values in changes.items()])


def speed_line(old: StoredCandidate, new: StoredCandidate) -> str:
    """A sentence that compares the times."""
    ratio = speedup(old, new)
    if ratio is None:
        named = ", ".join(f"candidate {each.id} is {each.evaluation.status.value}" for each in (old, new))
        return f"no speeds to compare: {named}"
    both = f"{us(old.fitness_us)} us and {us(new.fitness_us)} us"
    return f"candidate {new.id} is {times(ratio)} as fast as candidate {old.id} ({both})"


def _build(build: BuildReport) -> dict[str, object]:
    facts = build.model_dump(exclude={"log", "seconds", "cached"}, exclude_none=True)
    lines = len(build.log.splitlines())
    seconds = "from the cache" if build.cached else duration(build.seconds)
    return {"time": seconds, **facts, "log": f"{lines} lines; print them with --log" if lines else None}


def _accuracy(each: Accuracy) -> tuple[object, ...]:
    worst = " ".join(map(str, each.worst_index))
    maxima = (digits(value) for value in (each.max_error, each.max_bound, each.sdpa_max_error))
    rms = (digits(value) for value in (each.rms_error, each.rms_bound, each.sdpa_rms_error))
    case = f"{each.case}: {each.output}" if each.output else each.case
    return case, *maxima, *rms, worst or None


def _final(final: Final) -> list[Sheet]:
    ratios = [(name, times(each.value, each.low, each.high)) for name, each in final.ratios.items()]
    head = {"status": final.status.value, "reason": final.reason or None, "cases": final.cases}
    head |= {"declined": ", ".join(final.refused) or None}
    return [
        Sheet.facts("finals", {name: value for name, value in head.items() if value is not None}),
        Sheet.of("finals, against", "baseline|times faster", ratios),
    ]
