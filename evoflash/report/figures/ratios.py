"""How many times faster than each baseline, and how sure that is."""

from __future__ import annotations

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import GREY, WINNER, frame, place, plain
from evoflash.report.run_data import RunData
from evoflash.report.tables import times


def ratios(data: RunData) -> go.Figure:
    """The winner's speed against each baseline with its 95 % interval, from paired, interleaved rounds.

    Raises:
        NothingToShowError: when no winner was timed beside baselines.
    """
    winner = data.winning_final
    if winner is None or not winner.ratios:
        raise NothingToShowError(
            f"run {data.run.id} has no winner that was timed beside baselines; `evoflash bench` times it"
        )
    rows = sorted(winner.ratios.items(), key=lambda pair: -pair[1].value)
    span = [1 / 1.15, 1.15, *(value for _, each in rows for value in (each.low / 1.15, each.high * 1.15))]
    height = 110 + 32 * len(rows)
    figure = frame("Times faster than each baseline", "times faster than the baseline", "", log_x=span, height=height)
    figure.add_vline(x=1, line={"width": 1.2, "dash": "dot", "color": GREY})
    figure.add_scatter(
        x=[each.value for _, each in rows],
        y=[plain(name) for name, _ in rows],
        mode="markers",
        marker={"size": 10, "color": WINNER},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [each.high - each.value for _, each in rows],
            "arrayminus": [each.value - each.low for _, each in rows],
            "thickness": 2,
            "width": 6,
        },
        hovertext=[f"{plain(name)}: {times(each.value, each.low, each.high)}" for name, each in rows],
        hoverinfo="text",
        showlegend=False,
    )
    figure.update_xaxes(range=[place(figure.layout.xaxis, each) for each in (min(span), max(span))])
    figure.update_yaxes(type="category")
    return figure
