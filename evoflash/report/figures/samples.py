"""The samples of the finals, with medians and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from evoflash.core.statistics import BOOTSTRAPS
from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import BLUE, GREY, WINNER, frame, plain
from evoflash.report.run_data import RunData
from evoflash.report.tables import us

FAR = 3.0  # contestants that many times slower than the winner are left out: they would flatten all others

Regime = Literal["warm", "cold"]


def samples(data: RunData, regime: Regime = "warm") -> go.Figure:
    """The samples of finalists and baselines as boxes over strips, and each median with its 95 % bootstrap interval.

    Args:
        regime: "warm" are the interleaved rounds; "cold" are the finalists' on CUDA, with the working set beyond L2.

    Raises:
        NothingToShowError: when no finals ran, or none has such samples.
    """
    rows = sorted(contestants(data, regime), key=lambda row: -float(np.median(row[1])))
    if not rows:
        why = "has no finals yet" if data.finals is None else f"has no {regime} samples of finalists"
        raise NothingToShowError(f"run {data.run.id} {why}; `evoflash bench --kernel run:{data.run.id}` takes samples")
    least = float(np.median(rows[-1][1]))
    rows = [row for row in rows if np.median(row[1]) <= FAR * least]
    figure = frame(f"Samples of the finals, {regime}", "microseconds", "", height=120 + 40 * len(rows))
    winner = f"candidate {data.winner.id}" if data.winner is not None else ""
    for name, values, is_baseline in rows:
        colour = WINNER if name == winner else GREY if is_baseline else BLUE
        figure.add_box(
            x=values,
            name=plain(name),
            orientation="h",
            boxpoints="all",
            jitter=0.6,
            pointpos=0,
            marker={"size": 3, "color": colour, "opacity": 0.45},
            line={"width": 1.2, "color": colour},
            fillcolor="rgba(0,0,0,0)",
            hoverinfo="x",
            showlegend=False,
        )
    medians = [interval(values) for _, values, _ in rows]
    figure.add_scatter(
        x=[median for median, _, _ in medians],
        y=[plain(name) for name, *_ in rows],
        mode="markers",
        marker={"size": 9, "symbol": "diamond", "color": [WINNER if name == winner else BLUE for name, *_ in rows]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - median for median, _, high in medians],
            "arrayminus": [median - low for median, low, _ in medians],
            "color": BLUE,
            "thickness": 2.5,
            "width": 6,
        },
        hovertext=[
            f"{plain(name)}: {us(m)} us [{us(low)}, {us(high)}]"
            for (name, *_), (m, low, high) in zip(rows, medians, strict=True)
        ],
        hoverinfo="text",
        name="median",
        showlegend=False,
    )
    every = [value for _, values, _ in rows for value in values]
    figure.update_xaxes(range=[min(every) * 0.97, min(max(every) * 1.03, FAR * least)])
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def contestants(data: RunData, regime: Regime) -> list[tuple[str, Sequence[float], bool]]:
    """Name, samples, and whether it is a baseline, of all that were timed in the finals."""
    if data.finals is None:
        return []
    rows: list[tuple[str, Sequence[float], bool]] = []
    for final in data.finals.finalists:
        taken = final.time if regime == "warm" else final.cold
        if taken is not None and taken.samples:
            rows.append((f"candidate {data.by_index[final.index].id}", taken.samples, False))
    if regime == "warm":
        rows += [(each.name, each.samples, True) for each in data.finals.baselines if each.samples]
    return rows


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and its 95 % bootstrap interval (percentile method)."""
    found = np.asarray(values)
    draws = np.random.default_rng(0).choice(found, size=(BOOTSTRAPS, len(found)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return float(np.median(found)), float(low), float(high)
