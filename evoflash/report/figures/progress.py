"""The best time so far, over candidates or seconds."""

from __future__ import annotations

from typing import Literal

import plotly.graph_objects as go

from evoflash.core.status import Status
from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import BLUE, GREY, PAPER, WINNER, apart, frame, place, plain
from evoflash.report.figures.words import head, story
from evoflash.report.gene_importance import time_of
from evoflash.report.run_data import RunData
from evoflash.report.tables import us

LABELLED = 6  # baselines that are drawn; the slowest of more would only stretch the axis
NEAR = 1.3  # baselines within this factor share a label

Over = Literal["candidates", "seconds"]


def progress(data: RunData, over: Over = "candidates") -> go.Figure:
    """The best time so far as a staircase, every correct candidate as a dot, and the baselines as lines.

    Args:
        over: what the horizontal axis counts.

    Raises:
        NothingToShowError: when no candidate is correct yet.
    """
    if not data.correct:
        raise NothingToShowError(
            f"run {data.run.id} has no correct candidate; see how they failed: `evoflash runs show {data.run.id}`"
        )
    where = data.places if over == "candidates" else data.seconds
    axis = "candidates finished" if over == "candidates" else "seconds since the run began"
    span = [*(time_of(each) for each in data.correct), *data.baselines.values()]
    figure = frame(f"Best time so far over {over}", axis, "microseconds", log_y=span)
    drawn = data.thinned(data.correct)
    figure.add_scatter(
        x=[where[each.id] for each in drawn],
        y=[time_of(each) for each in drawn],
        mode="markers",
        name="correct candidates",
        marker={"size": 5, "color": GREY, "opacity": 0.55},
        hovertext=[head(each) for each in drawn],
        hoverinfo="text",
        customdata=[each.id for each in drawn],
    )
    last = where[data.candidates[-1].id]
    steps = data.improvements
    figure.add_scatter(
        x=[*(where[each.id] for each in steps), last],
        y=[*(time_of(each) for each in steps), time_of(steps[-1])],
        mode="lines+markers",
        name="best so far",
        line={"shape": "hv", "width": 2.5, "color": BLUE},
        marker={"size": [8] * len(steps) + [0], "color": BLUE},
        hovertext=[*(story(data, each) for each in steps), head(steps[-1])],
        hoverinfo="text",
        customdata=[each.id for each in (*steps, steps[-1])],
    )
    failed = [each for each in data.candidates if each.status not in (Status.OK, Status.DUPLICATE)]
    if failed:
        drawn = data.thinned(failed)
        figure.add_scatter(
            x=[where[each.id] for each in drawn],
            y=[max(time_of(each) for each in data.correct) * 1.25] * len(drawn),
            mode="markers",
            name="failed",
            marker={"size": 6, "symbol": "x-thin", "line": {"width": 1.2, "color": WINNER}, "opacity": 0.8},
            hovertext=[story(data, each) for each in drawn],
            hoverinfo="text",
            customdata=[each.id for each in drawn],
        )
    _draw_baselines(figure, data, last)
    return figure


def _draw_baselines(figure: go.Figure, data: RunData, last: float) -> None:
    """A dotted line for each of the fastest baselines, with its name at the right end."""
    fastest = dict(sorted(data.baselines.items(), key=lambda pair: pair[1])[:LABELLED])
    for name, value in fastest.items():
        figure.add_scatter(
            x=[0, last],
            y=[value, value],
            mode="lines",
            line={"dash": "dot", "width": 1.3, "color": GREY},
            hovertext=f"{plain(name)}: {us(value)} us",
            hoverinfo="text",
            showlegend=False,
        )
    for names, value in apart(fastest, NEAR):
        figure.add_annotation(
            x=last,
            xanchor="right",
            y=place(figure.layout.yaxis, value),
            yanchor="bottom",
            text=plain(names, 48),
            showarrow=False,
            font={"size": 11, "color": GREY},
            bgcolor=PAPER,
            borderpad=0,
        )
