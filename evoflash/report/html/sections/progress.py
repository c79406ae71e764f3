"""How the best time fell."""

from __future__ import annotations

from evoflash.report import figures
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import THINNED, RunData
from evoflash.report.runs import improvements
from evoflash.report.tables import Sheet, duration, us


def progress(data: RunData) -> Section:
    """The best time over candidates and seconds, and each step of it."""
    run = data.run.id
    slots = [
        drawn(
            f"{run}-progress-{over}",
            f"Best time so far, over {over}",
            "A step is a candidate that improved the best; dotted lines are baselines.",
            lambda over=over: figures.progress(data, over),
        )
        for over in ("candidates", "seconds")
    ]
    slots.append(drawn(f"{run}-pace", "Pace", "", lambda: figures.pace(data), wide=True))
    rows = [
        (each.after, duration(each.seconds), us(each.best_us), each.candidate, each.operator)
        for each in improvements(data.steps, data.run.created_at)
    ]
    table = Sheet.of("Improvements", ">after candidates|>after|>best, µs|>candidate|operator", rows)
    return Section("progress", "Progress", _thinning(data, len(data.candidates)), tuple(slots), folded=(table,))


def _thinning(data: RunData, count: int) -> str:
    if count <= THINNED:
        return ""
    return (
        f"Of {count:,} candidates the figures draw about {THINNED:,} one by one: all that improved the best time, the "
        "finalists, the winner's ancestry, and every n-th of the others. Staircases, counts and tables are of all."
    )
