"""The lineage of all candidates."""

from __future__ import annotations

from collections.abc import Mapping

from evoflash.report import figures
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData
from evoflash.store import Written


def lineage(data: RunData, sources: Mapping[int, Written]) -> Section:
    """The graph of all candidates, with a field that opens one."""
    slot = drawn(
        f"{data.run.id}-lineage",
        "",
        "",
        lambda: figures.lineage(data),
        wide=True,
    )
    words = (
        "A point is a candidate, a line leads to a parent, a colour is the operator that made it. Drag to move, use "
        "the buttons on top to zoom, and click a point for its genome and source."
    )
    if data.candidates and len(sources) < len(data.candidates):
        words += (
            f" The page carries the sources of {len(sources):,} candidates; `evoflash show ID --source` "
            "prints any other."
        )
    return Section("lineage", "Lineage", words, (slot,), finder=bool(data.candidates))
