"""The winner: its genome, ancestry and source."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from evoflash.report.html.section import Code, Section
from evoflash.report.run_data import RunData, changes, described, shown
from evoflash.report.tables import Sheet, duration, us
from evoflash.store import Written

DIFF_LINES = 700  # of a diff; `evoflash diff` prints all


def winner(data: RunData, sources: Mapping[int, Written]) -> Section | None:
    """The winner's genome, ancestry, source and diff to its first ancestor; None where nothing is correct."""
    winner = data.winner
    if winner is None:
        return None
    facts: dict[str, Any] = {
        "candidate": f"{winner.id} (number {winner.index} of the run)",
        "family": winner.family,
        "operator": winner.operator,
        "registers": winner.registers,
        "shared memory, bytes": winner.shared_bytes,
        "spilled, bytes": winner.spill_bytes,
        "build": duration(winner.build_s),
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    genes = [(name, shown(value)) for name, value in winner.genome.items()]
    sheets = [Sheet.facts("Kernel", facts), Sheet.of("Genome", "gene|value", genes)]
    path = [
        (
            each.id,
            each.run_id if each.run_id != winner.run_id else None,
            each.operator,
            us(each.fitness_us),
            _step(data, each),
        )
        for each in data.path
    ]
    folded = (Sheet.of("Its ancestry, by first parents", ">candidate|>of run|operator|>best, µs|what changed", path),)
    codes, text = [], sources.get(winner.id)
    ancestor = data.path[-1]
    if text is not None and ancestor is not winner and ancestor.id in sources:
        codes.append(_diff(sources[ancestor.id].text, text.text, ancestor.id, winner.id))
    if text is not None:
        rows = tuple(("", line) for line in text.text.splitlines())
        codes.append(Code(f"Source of candidate {winner.id}", rows, text.language or "c++", f"{len(rows):,} lines"))
    words = "" if ancestor is not winner else "The winner has no parents, so there is no ancestor to compare it with."
    return Section("winner", "The winner", words, sheets=tuple(sheets), folded=folded, codes=tuple(codes))


def _step(data: RunData, each: Any) -> str:
    parent = next((data.by_id[key] for key in each.parent_ids if key in data.by_id), None)
    if parent is None:
        return described(each.genome)
    return ", ".join(f"{name} {shown(old)} → {shown(new)}" for name, (old, new) in changes(parent, each).items())


def _diff(old: str, new: str, old_id: int, new_id: int) -> Code:
    """A unified diff by kind of line."""
    title = f"What changed from its first ancestor, candidate {old_id}"
    lines = list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), f"candidate {old_id}", f"candidate {new_id}", lineterm=""
        )
    )
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    rows = tuple(
        ("hunk" if number < 2 else kinds.get(line[:1], ""), line) for number, line in enumerate(lines[:DIFF_LINES])
    )
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    words = f"{added} lines more, {removed} fewer" if lines else "the sources are equal"
    if len(lines) > DIFF_LINES:
        words += f"; the first {DIFF_LINES} lines of the diff, `evoflash diff {old_id} {new_id}` prints all"
    return Code(title, rows, words=words, open=True)
