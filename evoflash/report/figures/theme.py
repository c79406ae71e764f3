"""What all figures share: colours that stand out on light and dark paper, and the frame."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from evoflash.core.status import Status

BLUE, ORANGE, GREEN, PURPLE, RED = "#3f7fd0", "#dd7f36", "#3a9d6e", "#8d70c9", "#d2504e"
TEAL, GOLD, PINK, BROWN, GREY = "#2c9aa6", "#bd962b", "#c9649b", "#96705b", "#8a929e"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, TEAL, GOLD, PINK, BROWN)
FADED = "rgba(138,146,158,0.35)"
WINNER = RED
PAPER = "rgba(255,255,255,0.75)"  # behind words that stand over points
LINEAR = 4.0  # a range from one to that many needs no logarithmic axis
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# The fast end is dark and the slow end nearly transparent, so that it reads on any paper.
SCALE = [[0.0, "rgb(38,98,176)"], [0.35, "rgb(92,150,214)"], [1.0, "rgb(190,206,226)"]]

STATUS_COLOURS = {
    Status.OK: GREEN,
    Status.DUPLICATE: GREY,
    Status.BUILD_FAILED: GOLD,
    Status.BUILD_TIMEOUT: BROWN,
    Status.OVER_BUDGET: PURPLE,
    Status.LAUNCH_FAILED: ORANGE,
    Status.WRONG: RED,
    Status.CRASHED: PINK,
    Status.HUNG: TEAL,
    Status.MISMEASURED: BLUE,
}


def frame(
    title: str,
    x: str,
    y: str,
    *,
    log_x: Sequence[float] | None = None,
    log_y: Sequence[float] | None = None,
    height: int = 420,
    **layout: Any,
) -> go.Figure:
    """An empty figure with its title and axes.

    Args:
        log_x, log_y: the values that a logarithmic axis is to show.
        layout: more of plotly's layout.
    """
    given = {
        "template": "none",
        "title": {"text": title, "x": 0.01, "font": {"size": 16}},
        "font": {"family": FONT, "size": 13, "color": "#3b4252"},
        "height": height,
        "margin": {"l": 64, "r": 20, "t": 48, "b": 52},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 12}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        "colorway": list(CYCLE),
        "xaxis": _axis(x, log_x),
        "yaxis": _axis(y, log_y),
    }
    return go.Figure(layout={**given, **layout})  # at once, since each update is checked as a whole


def _axis(title: str, values: Sequence[float] | None) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 10},
        "gridcolor": "rgba(138,146,158,0.22)",
        "linecolor": "rgba(138,146,158,0.55)",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "rgba(138,146,158,0.55)",
        "tickformat": ",~g",
        **(_logarithmic(values) if values is not None else {}),
    }


def _logarithmic(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with ticks for the range that it shows; a linear one where the range is small."""
    most = max(values, default=1.0) / min(values, default=1.0)
    if most < LINEAR:
        return {}
    return {"type": "log", "dtick": "D2" if most < 3e4 else 1, "exponentformat": "none"}


def apart(values: Mapping[str, float], factor: float) -> list[tuple[str, float]]:
    """Labels that do not cover each other on a logarithmic axis: names nearer than a factor share the first's place."""
    found: list[tuple[str, float]] = []
    for name, value in sorted(values.items(), key=lambda pair: pair[1]):
        if found and value < found[-1][1] * factor:
            found[-1] = (f"{found[-1][0]}, {name}", found[-1][1])
        else:
            found.append((name, value))
    return found


def place(axis: Any, value: float) -> float:
    """Where an annotation stands on an axis, which on a logarithmic one is said by the logarithm."""
    return math.log10(value) if axis.type == "log" else value


def colours(names: Any) -> dict[str, str]:
    """A colour for each name, in the order in which they come."""
    return {name: CYCLE[number % len(CYCLE)] for number, name in enumerate(dict.fromkeys(names))}


def plain(text: object, most: int = 160) -> str:
    """Text for a hover label, which reads some tags of HTML; cut where it is very long."""
    words = str(text)
    return html.escape(words if len(words) <= most else f"{words[: most - 1]}…", quote=False)
