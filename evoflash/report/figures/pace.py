"""How many candidates finished a minute, over the run."""

from __future__ import annotations

from collections import Counter

import plotly.graph_objects as go

from evoflash.core.status import Status
from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import BLUE, GREY, RED, frame
from evoflash.report.run_data import RunData

BINS = 40
KINDS = {"correct": BLUE, "duplicate": GREY, "failed": RED}


def pace(data: RunData) -> go.Figure:
    """Candidates finished a minute, by how they ended.

    Raises:
        NothingToShowError: when the run has no candidates.
    """
    if not data.candidates:
        raise NothingToShowError(f"run {data.run.id} has no candidates yet; wait for its first")
    first, last = data.seconds[data.candidates[0].id], data.seconds[data.candidates[-1].id]
    width = max((last - first) / min(BINS, max(1, len(data.candidates) // 4)), 1e-3)
    counts: Counter[tuple[str, int]] = Counter()
    for each in data.candidates:
        counts[_kind(each.status), min(BINS - 1, int((data.seconds[each.id] - first) / width))] += 1
    bins = sorted({place for _, place in counts})
    figure = frame("Pace", "seconds since the run began", "candidates a minute", height=300)
    for kind, colour in KINDS.items():
        if any(counts[kind, place] for place in bins):
            figure.add_bar(
                x=[first + (place + 0.5) * width for place in bins],
                y=[counts[kind, place] / width * 60 for place in bins],
                width=width,
                name=kind,
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{y:.0f} a minute " + kind + "<extra></extra>",
            )
    figure.update_layout(barmode="stack", bargap=0.05)
    return figure


def _kind(status: str) -> str:
    return {Status.OK: "correct", Status.DUPLICATE: "duplicate"}.get(Status(status), "failed")
