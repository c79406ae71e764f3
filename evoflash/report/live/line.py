"""The state of a search as one line, where there is no terminal."""

from __future__ import annotations

from evoflash.report.live.counts import Counts
from evoflash.report.live.words import against, us


def best_of(counts: Counts, shape: str) -> str:
    """The best of a shape against its fastest baseline."""
    own = counts.shapes[shape]
    if own.best is None:
        return ""
    prefix = f"{shape}: " if len(counts.shapes) > 1 else ""
    name, time_us = next(iter(own.baselines.items()), ("", 0.0))
    ratio = f", {against(time_us, own.best.time_us)} {name}" if name else ""
    return f"{prefix}best {us(own.best.time_us)}{ratio}"


def line_of(counts: Counts) -> str:
    """Results, pace, what is going on, bests and failures."""
    work = counts.work
    pace = counts.candidates_a_minute(work)
    bests = [best for shape in counts.shapes if (best := best_of(counts, shape))]
    failures = ", ".join(f"{count} {status}" for status, count in counts.failures()) or "none"
    return (
        f"{counts.results}/{counts.budget} candidates"
        f"{f', {pace:.0f} per minute' if pace else ''}; "
        f"{len(work.building)} building, {len(work.examining)} timing, {work.waiting} waiting; "
        f"{'; '.join(bests) or 'nothing correct yet'}; failures: {failures}"
    )
