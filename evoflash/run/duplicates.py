"""Candidates that are the same kernel as an earlier one: by their source, or only once they are built."""

from __future__ import annotations

from evoflash.core.archive import Archive
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.status import Stage, Status


class Duplicates:
    """Finds the duplicates among the candidates of one task, and completes their evaluations.

    A candidate with the source of an earlier one, its original, is not built; one with its machine code is not timed.
    Its evaluation is a `DUPLICATE` that names the original, which may still be on its way. By the time that the
    proposer learns of the duplicate it has learned of the original, whose times `completed` then adds.

    Args:
        archive: the results that the proposer has learned, by number.
    """

    def __init__(self, archive: Archive):
        self._archive = archive
        self._originals: dict[str, int] = {}  # digest of a source or of machine code -> number of the candidate

    def by_source(self, index: int, digest: str) -> Evaluation | None:
        """The evaluation of a candidate whose source is known; otherwise the candidate becomes the original."""
        original = self._originals.setdefault(digest, index)
        return None if original == index else _duplicate(original, "the same source", None)

    def by_machine_code(self, index: int, report: BuildReport) -> Evaluation | None:
        """The evaluation of a built candidate whose machine code is known; otherwise it becomes the original.

        A later candidate that happened to be built first does not count as the original: what is proposed next must not
        depend on the order in which builds finish.
        """
        assert report.binary_digest is not None
        original = self._originals.setdefault(report.binary_digest, index)
        return _duplicate(original, "the same machine code", report) if original < index else None

    def remember(self, index: int, source_digest: str, evaluation: Evaluation) -> None:
        """Registers a candidate whose evaluation is on record."""
        self._originals.setdefault(source_digest, index)
        if evaluation.build is not None and evaluation.build.binary_digest is not None:
            self._originals.setdefault(evaluation.build.binary_digest, index)

    def completed(self, evaluation: Evaluation) -> Evaluation:
        """A duplicate's evaluation with the times of its original."""
        assert evaluation.duplicate_of is not None
        original = self._archive.member(evaluation.duplicate_of).evaluation
        reason = f"{evaluation.reason} ({original.status})"
        return evaluation.model_copy(update={"timings": original.timings, "reason": reason})


def _duplicate(original: int, what: str, report: BuildReport | None) -> Evaluation:
    stage = Stage.BUILD if report is None else Stage.RESOURCES
    reason = f"{what} as candidate {original}"
    return Evaluation(status=Status.DUPLICATE, stage=stage, reason=reason, build=report, duplicate_of=original)
