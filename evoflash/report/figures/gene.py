"""The times of candidates by the value of one gene."""

from __future__ import annotations

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import BLUE, WINNER, frame
from evoflash.report.figures.words import head
from evoflash.report.gene_importance import genes_of, time_of
from evoflash.report.run_data import RunData, shown

SINGLE = 150  # candidates that are drawn one by one; more are boxes only


def gene(data: RunData, name: str) -> go.Figure:
    """A slice through the search: the times of the winner's family by the value of one gene, as boxes.

    Raises:
        NothingToShowError: when no two correct candidates differ in this gene.
    """
    chosen = data.children_of(data.main_family or "")
    values = genes_of(chosen).get(name)
    if values is None:
        raise NothingToShowError(
            f"no two correct candidates of {data.main_family} differ in {name}; choose a gene of `figures.importance`"
        )
    figure = frame(name, name, "microseconds", log_y=[time_of(each) for each in chosen], height=300)
    fastest = []
    for value in values:
        members = [each for each in chosen if repr(each.genome.get(name)) == repr(value)]
        drawn = data.thinned(members)
        figure.add_box(
            y=[time_of(each) for each in drawn],
            name=shown(value),
            boxpoints="all" if len(chosen) <= SINGLE else False,
            jitter=0.5,
            pointpos=0,
            marker={"size": 3.5, "color": BLUE, "opacity": 0.6},
            line={"width": 1.2, "color": BLUE},
            fillcolor="rgba(63,127,208,0.14)",
            hoverinfo="y",
            showlegend=False,
        )
        fastest.append(min(members, key=time_of))
    figure.add_scatter(
        x=[shown(value) for value in values],
        y=[time_of(each) for each in fastest],
        mode="markers",
        marker={"size": 8, "symbol": "diamond", "color": WINNER},
        hovertext=[head(each) for each in fastest],
        hoverinfo="text",
        customdata=[each.id for each in fastest],
        name="the fastest",
        showlegend=False,
    )
    figure.update_xaxes(type="category", showgrid=False)
    return figure
