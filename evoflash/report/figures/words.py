"""What a hover label says of a candidate."""

from __future__ import annotations

from evoflash.report.figures.theme import plain
from evoflash.report.run_data import RunData, changes, shown
from evoflash.report.tables import times, us
from evoflash.store import CandidateSummary

NAMED = 6  # genes that a label names


def head(each: CandidateSummary) -> str:
    """Its id and time, family and operator."""
    result = f"{us(each.fitness_us)} us" if each.fitness_us is not None else each.status
    return f"<b>candidate {each.id}: {result}</b><br>{plain(each.family)} by {plain(each.operator)}"


def story(data: RunData, each: CandidateSummary) -> str:
    """What is in `head`, what it changed against its first parent, and why it failed."""
    lines = [head(each)]
    parent = next((data.by_id[key] for key in each.parent_ids if key in data.by_id), None)
    if parent is not None:
        faster = (
            f", {times(parent.fitness_us / each.fitness_us)} as fast"
            if parent.fitness_us is not None and each.fitness_us
            else ""
        )
        elsewhere = f" of run {parent.run_id}" if parent.run_id != each.run_id else ""
        lines.append(f"from {parent.id}{elsewhere}{faster}")
        changed = list(changes(parent, each).items())
        lines += [f"  {plain(name)}: {plain(shown(old))} → {plain(shown(new))}" for name, (old, new) in changed[:NAMED]]
        if len(changed) > NAMED:
            lines.append(f"  and {len(changed) - NAMED} more genes")
    if each.reason:
        lines.append(plain(each.reason))
    return "<br>".join(lines)
