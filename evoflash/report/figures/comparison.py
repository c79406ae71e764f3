"""Several runs in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.progress import Over
from evoflash.report.figures.theme import CYCLE, GREY, frame, plain
from evoflash.report.gene_importance import time_of
from evoflash.report.run_data import RunData
from evoflash.report.tables import digits


def comparison(runs: Sequence[RunData], over: Over = "candidates") -> go.Figure:
    """The best so far of each run: as time where all search the same problem, else against each run's fastest baseline.

    Raises:
        NothingToShowError: when no run has what is to be drawn.
    """
    same = len({each.run.problem_label for each in runs}) == 1
    axis = "candidates finished" if over == "candidates" else "seconds since the run began"
    title = "microseconds" if same else "times its fastest baseline's speed"
    times = [time_of(each) for data in runs for each in data.improvements]
    figure = frame(f"Best so far over {over}", axis, title, log_y=times if same else None)
    for number, data in enumerate(runs):
        base = data.baselines.get(data.best_baseline or "")
        if not data.improvements or (not same and base is None):
            continue
        where = data.places if over == "candidates" else data.seconds
        steps, last = data.improvements, data.candidates[-1]
        best = [time_of(each) for each in (*steps, steps[-1])]
        colour = CYCLE[number % len(CYCLE)]
        name = plain(f"{data.title} on {data.device}", 70)
        figure.add_scatter(
            x=[where[each.id] for each in (*steps, last)],
            y=best if same or base is None else [base / value for value in best],
            mode="lines+markers",
            name=name,
            line={"shape": "hv", "width": 2.5, "color": colour},
            marker={"size": [7] * len(steps) + [0], "color": colour},
            hovertext=[f"{name}<br>candidate {each.id}: {digits(time_of(each))} us" for each in (*steps, steps[-1])],
            hoverinfo="text",
        )
        if same and base is not None:
            figure.add_scatter(
                x=[0, where[last.id]],
                y=[base, base],
                mode="lines",
                line={"dash": "dot", "width": 1.4, "color": colour},
                hovertext=f"{plain(data.best_baseline)} in run {data.run.id}: {digits(base)} us",
                hoverinfo="text",
                showlegend=False,
            )
    if not figure.data:
        raise NothingToShowError(
            "no run has a correct candidate that could be compared; choose others by `evoflash runs list`"
        )
    if not same:
        figure.add_hline(y=1, line={"width": 1.2, "dash": "dot", "color": GREY})
    return figure
