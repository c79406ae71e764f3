"""The machine, and the settings of the run."""

from __future__ import annotations

from typing import Any

from evoflash.report import run_sheets
from evoflash.report.html.section import Section
from evoflash.report.run_data import RunData
from evoflash.report.tables import Sheet


def machine(data: RunData) -> Section:
    """How busy the machine was, its facts, and the settings of the run."""
    run = data.run
    busy = data.latest("throughput")
    conditions = str(data.finals.conditions) if data.finals is not None else None
    state: dict[str, Any] = {
        "search": busy.text if busy is not None else "not on record: it is noted when a search ends",
        "finals": conditions,
    }
    head = {
        "status": f"{run.status}{': ' + run.stop_reason if run.stop_reason else ''}",
        "begun": run_sheets.moment(run.created_at),
        "problem": run.problem_label,
        "strategy": run.strategy,
        "seed": run.seed,
    }
    sheets = (
        Sheet.facts("How busy it was", {name: value for name, value in state.items() if value is not None}),
        Sheet.facts("Run", head),
        Sheet.facts("Facts", run.machine),
    )
    settings = Sheet.facts("Settings", run_sheets.settings(run.plan))
    notes = run_sheets.insights_sheet(run_sheets.latest(data.insights))
    return Section("machine", "Machine and settings", sheets=sheets, folded=(settings, notes))
