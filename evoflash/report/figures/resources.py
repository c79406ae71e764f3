"""Registers, shared memory and occupancy against time, on CUDA."""

from __future__ import annotations

from typing import Literal

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import WINNER, colours, frame
from evoflash.report.figures.words import head
from evoflash.report.gene_importance import time_of
from evoflash.report.run_data import RunData
from evoflash.report.tables import digits
from evoflash.store import CandidateSummary

Resource = Literal["registers", "shared", "occupancy"]
TITLES = {
    "registers": "registers per thread",
    "shared": "shared memory per block, KiB",
    "occupancy": "threads that fit on a multiprocessor",
}


def resources(data: RunData, what: Resource = "registers") -> go.Figure:
    """The times of correct candidates against what a block of theirs takes of a multiprocessor.

    Raises:
        NothingToShowError: when the compiler reports no such figures.
    """
    values = {
        each.id: value for each in data.correct if (value := _value(data, each, what)) is not None
    }  # fmt: skip
    if not values:
        raise NothingToShowError(f"nothing is known of {what}, which compilers report for CUDA; draw a run on CUDA")
    members = data.thinned([each for each in data.correct if each.id in values])
    figure = frame(
        what.capitalize(), TITLES[what], "microseconds", log_y=[time_of(each) for each in members], height=360
    )
    for family, colour in colours(each.family for each in members).items():
        own = [each for each in members if each.family == family]
        figure.add_scatter(
            x=[values[each.id] for each in own],
            y=[time_of(each) for each in own],
            mode="markers",
            name=family,
            marker={"size": 7, "color": colour, "opacity": 0.7},
            hovertext=[f"{head(each)}<br>{digits(values[each.id])} {what}" for each in own],
            hoverinfo="text",
            customdata=[each.id for each in own],
        )
    if data.winner is not None and data.winner.id in values:
        figure.add_scatter(
            x=[values[data.winner.id]],
            y=[time_of(data.winner)],
            mode="markers",
            name="winner",
            marker={"size": 13, "symbol": "star", "color": WINNER},
            hovertext=[head(data.winner)],
            hoverinfo="text",
            customdata=[data.winner.id],
        )
    if what == "occupancy":
        figure.update_xaxes(tickformat=".0%")
    return figure


def _value(data: RunData, each: CandidateSummary, what: Resource) -> float | None:
    if what == "registers":
        return each.registers
    if what == "shared":
        return each.shared_bytes / 1024 if each.shared_bytes is not None else None
    return occupancy(data, each)


def occupancy(data: RunData, each: CandidateSummary) -> float | None:
    """The share of a multiprocessor's threads that its blocks can hold at once; None where that is not known.

    The grid may have fewer blocks than fit.
    """
    facts, threads = data.run.machine.get("facts", {}), data.threads.get(each.id)
    most = facts.get("max_threads_per_multiprocessor")
    if not threads or not each.registers or not most:
        return None
    blocks = min(most // threads, facts["registers_per_multiprocessor"] // (each.registers * threads))
    if each.shared_bytes:
        blocks = min(blocks, facts["shared_bytes_per_multiprocessor"] // each.shared_bytes)
    return blocks * threads / most
