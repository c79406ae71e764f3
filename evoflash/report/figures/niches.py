"""The best time in each niche, as a map."""

from __future__ import annotations

import math
from typing import Any, Literal

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import SCALE, frame
from evoflash.report.figures.words import head
from evoflash.report.gene_importance import genes_of, in_order, time_of
from evoflash.report.run_data import RunData, shown
from evoflash.report.tables import us
from evoflash.store import CandidateSummary

REGISTERS, SHARED_KIB = 32, 16  # the width of a niche, as that of the population map-elites


def niches(data: RunData, by: Literal["genes", "resources"] = "genes") -> go.Figure:
    """The best time for each pair of values; a blank cell was never correct.

    Args:
        by: "genes", the two that matter most of the winner's family, or "resources", registers and shared memory as the
            population map-elites buckets them.

    Raises:
        NothingToShowError: when too few candidates are correct, or the compiler reports no resources.
    """
    chosen = data.children_of(data.main_family or "")
    if by == "resources":
        built = [each for each in data.correct if each.registers is not None]
        if not built:
            raise NothingToShowError("the compiler reports no registers for this target; draw niches by genes")
        cells = [(each.registers or 0) // REGISTERS * REGISTERS for each in built]
        rows = [(each.shared_bytes or 0) // (SHARED_KIB * 1024) * SHARED_KIB for each in built]
        axes = ("registers per thread, from", "shared memory per block, KiB, from")
        return _map("Niches by resources", axes, cells, rows, built)
    names = [each.gene for each in data.importance.weights] if data.importance is not None else list(genes_of(chosen))
    if len(names) < 2:
        raise NothingToShowError(
            "fewer than two genes differ between the correct candidates, so there is no map; search on"
        )
    first, second = names[:2]
    title = f"Best time by {first} and {second} ({data.main_family})"
    return _map(
        title,
        (first, second),
        [each.genome.get(first) for each in chosen],
        [each.genome.get(second) for each in chosen],
        chosen,
    )


def _map(
    title: str, axes: tuple[str, str], columns: list[Any], rows: list[Any], members: list[CandidateSummary]
) -> go.Figure:
    best: dict[tuple[str, str], CandidateSummary] = {}
    counts: dict[tuple[str, str], int] = {}
    for column, row, each in zip(columns, rows, members, strict=True):
        cell = (shown(column), shown(row))
        counts[cell] = counts.get(cell, 0) + 1
        if cell not in best or time_of(each) < time_of(best[cell]):
            best[cell] = each
    x = [shown(value) for value in in_order(dict.fromkeys(columns))]
    y = [shown(value) for value in in_order(dict.fromkeys(rows))]
    grid = [[best.get((column, row)) for column in x] for row in y]
    figure = frame(title, axes[0], axes[1])
    words = [
        [
            f"{head(each)}<br>the best of {counts[column, row]}" if each is not None else ""
            for column, each in zip(x, line, strict=True)
        ]
        for row, line in zip(y, grid, strict=True)
    ]
    figure.add_heatmap(
        x=x,
        y=y,
        z=[[math.log(time_of(each)) if each is not None else None for each in line] for line in grid],
        text=[[us(time_of(each)) if each is not None else "" for each in line] for line in grid],
        texttemplate="%{text}",
        customdata=[[each.id if each is not None else None for each in line] for line in grid],
        hovertext=words,
        hoverinfo="text",
        hoverongaps=False,
        colorscale=SCALE,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return figure
