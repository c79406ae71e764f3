"""What won, against every baseline."""

from __future__ import annotations

from evoflash.report import figures, run_sheets
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData
from evoflash.report.tables import Sheet


def result(data: RunData) -> Section:
    """The winner's speed against every baseline, and the table of the finals."""
    sheets: list[Sheet] = []
    if data.finals is not None:
        ids = {final.index: data.by_index[final.index].id for final in data.finals.finalists}
        sheets = run_sheets.finals_sheets(data.finals, ids)
    slot = drawn(
        f"{data.run.id}-ratios",
        "The winner against every baseline",
        "Points are medians of paired ratios from interleaved rounds, bars their 95 % intervals. Right of 1 the winner "
        "is faster.",
        lambda: figures.ratios(data),
        wide=True,
    )
    return Section("result", "Result", slots=(slot,) if data.finals is not None else (), sheets=tuple(sheets))
