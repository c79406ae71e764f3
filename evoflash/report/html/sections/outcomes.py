"""Families, operators and failures."""

from __future__ import annotations

from evoflash.report import figures
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData
from evoflash.report.runs import shares
from evoflash.report.tables import Sheet, us
from evoflash.store import Tally


def outcomes(data: RunData) -> Section:
    """How candidates ended, by status, gene, family and operator."""
    run, tally = data.run.id, _tally(data)
    slots = (
        drawn(f"{run}-failures", "How candidates ended", "", lambda: figures.failures(data)),
        drawn(
            f"{run}-failing-genes",
            "What fails with which gene",
            "The values with the largest share of failures; a failure may be another gene's fault.",
            lambda: figures.failing_genes(data),
        ),
    )
    columns = ">candidates|>correct|>improvements|>best, µs"
    sheets = tuple(
        Sheet.of(
            f"By {by}",
            f"{by}|{columns}",
            [
                (each.name, each.candidates, each.correct, each.improvements, us(each.best_us))
                for each in shares(by, tally, data.steps)
            ],
        )
        for by in ("family", "operator")
    )
    return Section("outcomes", "Families, operators, failures", slots=slots, sheets=sheets)


def _tally(data: RunData) -> list[Tally]:
    """Counts by family, operator and status, of what was read already."""
    groups: dict[tuple[str, str, str], list[float | None]] = {}
    for each in data.candidates:
        groups.setdefault((each.family, each.operator, each.status), []).append(each.fitness_us)
    return [
        Tally(*key, len(times), min((time for time in times if time is not None), default=None))
        for key, times in groups.items()
    ]
