"""The lineage of a candidate, or of a whole run: who descends from whom, what each step changed, and the speedup."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.genome import Gene
from evoflash.core.record import Document, Record
from evoflash.store import Ancestor, Relative, StoredCandidate


class Change(Record):
    """The change from a parent.

    Attributes:
        parent: the parent's id.
        genes: name -> (parent's value, own value), including "family" if that changed.
        speedup: how many times faster than the parent; None if either has no time.
    """

    parent: int
    genes: dict[str, tuple[Any, Any]]
    speedup: float | None


class Member(Record):
    """A candidate in a lineage.

    Attributes:
        candidate: its id.
        run: its run.
        index: its number in the run.
        family: the template that rendered it.
        operator: how it was proposed.
        genome: the parameter values that it was rendered with.
        status: how its evaluation ended.
        p50_us: its median time in microseconds; None for a failure.
        changes: from each of its parents in the lineage.
    """

    candidate: int
    run: int
    index: int
    family: str
    operator: str
    genome: dict[str, Gene]
    status: str
    p50_us: float | None
    changes: tuple[Change, ...]


class Lineage(Document):
    """A candidate and its ancestors, or the candidates of a whole run.

    Attributes:
        candidate: the id of the candidate whose lineage this is; of a whole run the fastest, None if none is correct.
        run: its run.
        candidates: each once; of a candidate the nearest ancestors first, of a run by id.
        left_out: number of candidates of the run beyond the limit.
    """

    candidate: int | None
    run: int
    candidates: tuple[Member, ...]
    left_out: int = 0


def of_candidate(ancestry: Sequence[Ancestor]) -> Lineage:
    """The lineage of the first of these candidates; the others are its ancestors."""
    known = {ancestor.stored.id: ancestor.stored for ancestor in ancestry}
    root = ancestry[0].stored
    return Lineage(
        candidate=root.id, run=root.run_id, candidates=tuple(_member(each, known) for each in known.values())
    )


def of_run(run: int, relatives: Sequence[Relative], limit: int) -> Lineage:
    """The lineage of a run.

    Args:
        relatives: its candidates, and their parents in other runs.
        limit: the most candidates; the fastest are kept with all their ancestors. Those of the fastest are always kept.
    """
    known = {each.id: each for each in relatives}
    own = [each for each in relatives if each.run_id == run]
    ranking = sorted(own, key=lambda each: (each.fitness_us is None, each.fitness_us or 0.0, each.id))
    kept: set[int] = set()
    for each in ranking:
        added = _with_ancestors(each.id, known, but=kept)
        if kept and len(kept) + len(added) > limit:
            break
        kept |= added
    shown = {key: known[key] for key in sorted(kept)}
    best = ranking[0].id if ranking and ranking[0].fitness_us is not None else None
    members = tuple(_member(each, shown) for each in shown.values())
    return Lineage(candidate=best, run=run, candidates=members, left_out=sum(each.id not in kept for each in own))


def genome_changes(old: Candidate, new: Candidate) -> dict[str, tuple[Any, Any]]:
    """The genes that differ between two candidates, with the family first: name -> (old, new)."""
    family = {"family": (old.family, new.family)} if old.family != new.family else {}
    return {**family, **new.genome.changes_from(old.genome)}


def speedup(old: StoredCandidate | Relative, new: StoredCandidate | Relative) -> float | None:
    """How many times faster the new one is; None if either has no time."""
    if not old.fitness_us or not new.fitness_us:
        return None
    return old.fitness_us / new.fitness_us


def _with_ancestors(key: int, known: Mapping[int, Relative], but: Iterable[int]) -> set[int]:
    """A candidate and its ancestors, except those below which everything is kept already."""
    found: set[int] = set()
    waiting = [key]
    while waiting:
        each = waiting.pop()
        if each in known and each not in found and each not in but:
            found.add(each)
            waiting += known[each].parent_ids
    return found


def _member(stored: Relative, known: Mapping[int, Relative]) -> Member:
    candidate = stored.candidate
    parents = [known[key] for key in stored.parent_ids if key in known]
    return Member(
        candidate=stored.id,
        run=stored.run_id,
        index=candidate.index,
        family=candidate.family,
        operator=candidate.operator,
        genome=dict(candidate.genome),
        status=stored.status,
        p50_us=stored.fitness_us,
        changes=tuple(
            Change(
                parent=parent.id,
                genes=genome_changes(parent.candidate, candidate),
                speedup=speedup(parent, stored),
            )
            for parent in parents
        ),
    )
