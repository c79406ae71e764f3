"""The lineage of a candidate as a tree: what each step changed, and the speedup."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from evoflash.core.candidate import Candidate
from evoflash.report.tables import times, us
from evoflash.store import Ancestor, Relative, StoredCandidate


@dataclass(frozen=True)
class Change:
    """The change from a parent.

    Attributes:
        parent: the parent's id.
        genes: name -> (parent's value, own value), including "family" if that changed.
        speedup: how many times faster than the parent; None if either has no time.
    """

    parent: int
    genes: dict[str, tuple[Any, Any]]
    speedup: float | None


@dataclass(frozen=True)
class Step:
    """A node of the tree.

    Attributes:
        level: its depth in the tree.
        repeated: whether the tree has already shown this ancestor and its ancestors.
        elsewhere: whether it belongs to a different run than the tree's root.
    """

    stored: Relative
    level: int
    changes: tuple[Change, ...]
    repeated: bool
    elsewhere: bool

    @property
    def line(self) -> str:
        """The node as one line of text."""
        candidate = self.stored.candidate
        time = self.stored.fitness_us
        result = f"{us(time)} us" if time is not None else self.stored.status
        run = f" of run {self.stored.run_id}" if self.elsewhere else ""
        head = f"{self.stored.id}{run} {candidate.family} by {candidate.operator}: {result}"
        if self.repeated:
            return f"{head} (see above)"
        return "; ".join([head, *(_describe(change) for change in self.changes)])


def genome_changes(old: Candidate, new: Candidate) -> dict[str, tuple[Any, Any]]:
    """The genes that differ between two candidates, with the family first: name -> (old, new)."""
    family = {"family": (old.family, new.family)} if old.family != new.family else {}
    return {**family, **new.genome.changes_from(old.genome)}


def speedup(old: StoredCandidate | Relative, new: StoredCandidate | Relative) -> float | None:
    """How many times faster the new one is; None if either has no time."""
    if not old.fitness_us or not new.fitness_us:
        return None
    return old.fitness_us / new.fitness_us


def walk(ancestry: Sequence[Ancestor]) -> Iterator[Step]:
    """The tree from the candidate back to its first ancestors, depth first; shared ancestors are expanded once."""
    known = {ancestor.stored.id: ancestor.stored for ancestor in ancestry}
    entered: set[int] = set()
    waiting = [(ancestry[0].stored.id, 0)]
    while waiting:  # an explicit stack, since a lineage may be deeper than Python's recursion limit
        key, level = waiting.pop()
        stored = known[key]
        elsewhere = stored.run_id != ancestry[0].stored.run_id
        yield Step(stored, level, _changes(stored, known), key in entered, elsewhere)
        if key not in entered:
            entered.add(key)
            waiting += [(parent, level + 1) for parent in reversed(stored.parent_ids)]


def print_tree(ancestry: Sequence[Ancestor]) -> None:
    """Prints the tree to standard output: drawn on a terminal, as indented lines when piped."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        for step in walk(ancestry):
            print(f"{'  ' * step.level}{step.line}")
        return
    branch: list[Tree] = []
    for step in walk(ancestry):
        node = Tree(Text(step.line))
        del branch[step.level :]
        if branch:
            branch[-1].children.append(node)
        branch.append(node)
    console.print(branch[0])


def print_document(ancestry: Sequence[Ancestor]) -> None:
    """Prints the tree as one JSON document, with parents nested in their children."""
    branch: list[dict[str, Any]] = []
    deepest = 0
    for step in walk(ancestry):
        node = _node(step)
        del branch[step.level :]
        if branch:
            branch[-1]["parents"].append(node)
        branch.append(node)
        deepest = max(deepest, step.level)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * deepest)  # the encoder recurses twice per generation
    try:
        print(json.dumps(branch[0]))
    finally:
        sys.setrecursionlimit(limit)


def _node(step: Step) -> dict[str, Any]:
    candidate = step.stored.candidate
    return {
        "candidate": step.stored.id,
        "run": step.stored.run_id,
        "index": candidate.index,
        "family": candidate.family,
        "operator": candidate.operator,
        "genome": dict(candidate.genome),
        "status": step.stored.status,
        "p50_us": step.stored.fitness_us,
        "changes": [
            {"parent": change.parent, "genes": change.genes, "speedup": change.speedup} for change in step.changes
        ],
        "repeated": step.repeated,
        "parents": [],
    }


def _changes(stored: Relative, known: dict[int, Relative]) -> tuple[Change, ...]:
    parents = [known[key] for key in stored.parent_ids]
    return tuple(
        Change(parent.id, genome_changes(parent.candidate, stored.candidate), speedup(parent, stored))
        for parent in parents
    )


def _describe(change: Change) -> str:
    genes = ", ".join(f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in change.genes.items())
    speed = f", {times(change.speedup)}" if change.speedup is not None else ""
    return f"from {change.parent}: {genes or 'nothing changed'}{speed}"


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
