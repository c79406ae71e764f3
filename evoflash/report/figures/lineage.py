"""Every candidate and its parents: who descends from whom, and what each step gained."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from evoflash.core.status import Status
from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import FADED, GREY, WINNER, colours, frame
from evoflash.report.figures.words import story
from evoflash.report.gene_importance import is_time
from evoflash.report.run_data import RunData
from evoflash.store import CandidateSummary

FAILED_AT = 1.35  # failures stand in a row above the slowest candidate, that many times as high


def lineage(data: RunData) -> go.Figure:
    """The lineage as a graph: a candidate's number to the right, its time upwards, a line to each parent.

    Colours are operators, the winner's ancestry is marked, and candidates without a time stand in a row on top. Of many
    candidates only some are drawn: `RunData.thinned`.

    Raises:
        NothingToShowError: when the run has no candidates.
    """
    if not data.candidates:
        raise NothingToShowError(f"run {data.run.id} has no lineage yet; wait for its first candidate")
    nodes = data.thinned(data.candidates)
    times = [each.fitness_us for each in nodes if each.fitness_us is not None and is_time(each.fitness_us)]
    top = max(times, default=1.0) * FAILED_AT
    places = {each.id: (each.index, _height(each, top)) for each in nodes}
    figure = frame(
        "Lineage",
        "candidate, in the order of proposal",
        "microseconds",
        log_y=[*times, top],
        height=560,
        dragmode="pan",
    )
    _draw_edges(figure, nodes, places)
    right = [each for each in nodes if is_time(each.fitness_us)]
    by_operator: dict[str, list[CandidateSummary]] = {}
    for each in right:
        by_operator.setdefault(each.operator, []).append(each)
    tints = colours(sorted(by_operator, key=lambda name: -len(by_operator[name])))
    for name, colour in tints.items():
        members = by_operator[name]
        _draw_nodes(figure, data, members, places, name, {"size": 7, "color": colour, "line": {"width": 0}})
    failed = [each for each in nodes if not is_time(each.fitness_us)]
    if failed:
        marker = {"size": 7, "symbol": "x-thin", "line": {"width": 1.3, "color": GREY}}
        _draw_nodes(figure, data, failed, places, "without a time", marker)
    _draw_path(figure, data, places)
    return figure


def _height(each: CandidateSummary, top: float) -> float:
    return each.fitness_us if each.fitness_us is not None and is_time(each.fitness_us) else top


def _draw_edges(figure: go.Figure, nodes: Sequence[CandidateSummary], places: dict[int, tuple[int, float]]) -> None:
    """A line from each candidate to each of its parents, as one trace: thousands of traces would be slow."""
    x: list[float | None] = []
    y: list[float | None] = []
    for each in nodes:
        if each.status in (Status.OK, Status.DUPLICATE):
            for parent in each.parent_ids:
                if parent in places:
                    x += [places[parent][0], places[each.id][0], None]
                    y += [places[parent][1], places[each.id][1], None]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"width": 0.7, "color": FADED}, hoverinfo="skip", showlegend=False
    )  # fmt: skip


def _draw_nodes(
    figure: go.Figure,
    data: RunData,
    members: Sequence[CandidateSummary],
    places: dict[int, tuple[int, float]],
    name: str,
    marker: dict[str, object],
) -> None:
    figure.add_scatter(
        x=[places[each.id][0] for each in members],
        y=[places[each.id][1] for each in members],
        mode="markers",
        name=name,
        marker=marker,
        hovertext=[story(data, each) for each in members],
        hoverinfo="text",
        customdata=[each.id for each in members],
    )


def _draw_path(figure: go.Figure, data: RunData, places: dict[int, tuple[int, float]]) -> None:
    """The winner and its first parents, over all others."""
    path = [each for each in data.path if each.id in places]
    if not path:
        return
    figure.add_scatter(
        x=[places[each.id][0] for each in path],
        y=[places[each.id][1] for each in path],
        mode="lines+markers",
        name="winner's path",
        line={"width": 2.4, "color": WINNER},
        marker={
            "size": [13] + [9] * (len(path) - 1),
            "color": WINNER,
            "symbol": ["star"] + ["circle"] * (len(path) - 1),
        },
        hovertext=[story(data, each) for each in path],
        hoverinfo="text",
        customdata=[each.id for each in path],
    )
