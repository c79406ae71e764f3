"""The candidates under the device's roofline (Williams, Waterman, Patterson, CACM 2009)."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from evoflash.core.statistics import geometric_mean
from evoflash.errors import NothingToShowError
from evoflash.evaluator.floor import Ceilings, ceilings, is_half
from evoflash.report.figures.theme import BLUE, GOLD, GREY, ORANGE, WINNER, apart, frame, plain
from evoflash.report.figures.words import head
from evoflash.report.gene_importance import time_of
from evoflash.report.run_data import RunData
from evoflash.report.tables import digits, us

LABELLED = 4  # baselines
NEAR = 1.5  # baselines within this factor share a label


def measured_of(data: RunData) -> Ceilings | None:
    """The rates that were measured with the winner's profile: of a copy beyond the caches, and of a matrix product."""
    counters = data.profile.counters if data.profile is not None else {}
    try:
        return Ceilings(counters["ceiling.flops_per_s"] / 1e6, counters["ceiling.copy_bytes_per_s"] / 1e6, 0.0)
    except KeyError:
        return None


def bounds_of(data: RunData) -> Ceilings | None:
    """The upper bounds of a run's device; None where its facts are not on record."""
    machine, problem = data.run.machine, next(iter(data.problems.values()), None)
    try:
        return ceilings(data.run.target, machine["facts"], machine, machine, half=problem is None or is_half(problem))
    except (KeyError, TypeError):
        return None


def roofline(data: RunData) -> go.Figure:
    """What the candidates attain, at the problem's least intensity: FLOPs over the bytes that must be moved at least.

    In a run over several shapes, intensity and rate are those of the geometric means.

    Raises:
        NothingToShowError: when nothing is correct, or the problem or the device is not known here.
    """
    if not data.correct:
        raise NothingToShowError(
            f"run {data.run.id} has no correct candidate; see how they failed: `evoflash runs show {data.run.id}`"
        )
    measured = measured_of(data)
    problems, roof = list(data.problems.values()), measured or bounds_of(data)
    if not problems or roof is None:
        raise NothingToShowError(
            "the problem's package or the device's facts are missing; draw it where the run was made"
        )
    flops = geometric_mean([float(each.flops) for each in problems])
    moved = geometric_mean([float(each.min_bytes) for each in problems])
    if not flops or not moved:
        raise NothingToShowError(
            "the problem has no FLOPs or moves no bytes, so it has no intensity; say its FLOPs in its file"
        )
    intensity = flops / moved
    ridge = roof.flops_per_us / roof.bytes_per_us
    ends = [min(intensity, ridge) / 8, ridge, max(intensity, ridge) * 8]
    rates = [_rate(roof, ends[0]), roof.flops_per_us, *(flops / time_of(each) for each in data.correct)]
    figure = frame("Roofline", "FLOP per byte that must be moved", "TFLOP/s", log_x=ends, log_y=rates)
    figure.add_scatter(
        x=ends,
        y=[_rate(roof, each) / 1e6 for each in ends],
        mode="lines",
        name="upper bounds, not measured" if measured is None else "copy and matrix product, measured",
        line={"width": 2, "color": ORANGE, "dash": "dash" if measured is None else "solid"},
        hovertext=[f"{digits(roof.bytes_per_us / 1e6)} TB/s", "ridge", f"{digits(roof.flops_per_us / 1e6)} TFLOP/s"],
        hoverinfo="text",
    )
    empty_us = data.run.machine.get("empty_launch_us")
    if isinstance(empty_us, float) and empty_us > 0:
        figure.add_scatter(
            x=[ends[0], ends[-1]],
            y=[flops / empty_us / 1e6] * 2,
            mode="lines",
            name="an empty launch, measured",
            line={"width": 1.6, "color": GOLD},
            hovertext=f"an empty kernel takes {us(empty_us)} us",
            hoverinfo="text",
        )
    drawn = data.thinned(data.correct)
    figure.add_scatter(
        x=[intensity] * len(drawn),
        y=[flops / time_of(each) / 1e6 for each in drawn],
        mode="markers",
        name="correct candidates",
        marker={"size": 14, "symbol": "line-ew", "line": {"width": 1.2, "color": BLUE}, "opacity": 0.5},
        hovertext=[f"{head(each)}<br>{digits(flops / time_of(each) / 1e6)} TFLOP/s" for each in drawn],
        hoverinfo="text",
        customdata=[each.id for each in drawn],
    )
    fastest = dict(sorted(data.baselines.items(), key=lambda pair: pair[1])[:LABELLED])
    for names, value in apart(fastest, NEAR):
        figure.add_scatter(
            x=[intensity / 1.25],
            y=[flops / value / 1e6],
            mode="markers+text",
            marker={"size": 8, "symbol": "triangle-right", "color": GREY},
            text=[f"{plain(names, 40)} "],
            textposition="middle left",
            textfont={"size": 11, "color": GREY},
            hovertext=[f"{plain(names)}: {us(value)} us, {digits(flops / value / 1e6)} TFLOP/s"],
            hoverinfo="text",
            showlegend=False,
        )
    if data.winner is not None and data.winner_us:
        ceiling = "upper bound" if measured is None else "ceiling"
        share = flops / data.winner_us / _rate(roof, intensity)
        words = f"{head(data.winner)}<br>{digits(flops / data.winner_us / 1e6)} TFLOP/s, {share:.1%} of the {ceiling}"
        figure.add_scatter(
            x=[intensity],
            y=[flops / data.winner_us / 1e6],
            mode="markers",
            name="winner",
            marker={"size": 13, "symbol": "star", "color": WINNER},
            hovertext=[words],
            hoverinfo="text",
            customdata=[data.winner.id],
        )
    figure.update_xaxes(range=[math.log10(ends[0]), math.log10(ends[-1])])
    return figure


def _rate(roof: Ceilings, intensity: float) -> float:
    """The highest rate, in FLOP per microsecond, at an intensity in FLOP per byte."""
    return min(roof.flops_per_us, intensity * roof.bytes_per_us)
