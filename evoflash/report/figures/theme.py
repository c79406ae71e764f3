"""What all figures share: colours that stand out on light and dark paper, and the frame."""

from __future__ import annotations

import html
from typing import Any

from evoflash.core.status import Status
from evoflash.errors import MissingError

try:
    import plotly.graph_objects as go
except ImportError:
    raise MissingError("figures need plotly, which is not installed; run: pip install 'evoflash[report]'") from None

BLUE, ORANGE, GREEN, PURPLE, RED = "#3f7fd0", "#dd7f36", "#3a9d6e", "#8d70c9", "#d2504e"
TEAL, GOLD, PINK, BROWN, GREY = "#2c9aa6", "#bd962b", "#c9649b", "#96705b", "#8a929e"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, TEAL, GOLD, PINK, BROWN)
FADED = "rgba(138,146,158,0.35)"
WINNER = RED
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


def frame(title: str, x: str, y: str, *, log_x: bool = False, log_y: bool = False, height: int = 420) -> go.Figure:
    """An empty figure with its title and axes."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0.01, "font": {"size": 16}},
        font={"family": FONT, "size": 13, "color": "#3b4252"},
        height=height,
        margin={"l": 64, "r": 20, "t": 48, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        hoverlabel={"align": "left", "font": {"family": FONT, "size": 12}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        colorway=list(CYCLE),
    )
    figure.update_xaxes(**_axis(x, log_x))
    figure.update_yaxes(**_axis(y, log_y))
    return figure


def _axis(title: str, log: bool) -> dict[str, Any]:
    logarithmic = {"type": "log", "dtick": "D2", "exponentformat": "none"} if log else {}
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
        **logarithmic,
    }


def colours(names: Any) -> dict[str, str]:
    """A colour for each name, in the order in which they come."""
    return {name: CYCLE[number % len(CYCLE)] for number, name in enumerate(dict.fromkeys(names))}


def plain(text: object, most: int = 160) -> str:
    """Text for a hover label, which reads some tags of HTML; cut where it is very long."""
    words = str(text)
    return html.escape(words if len(words) <= most else f"{words[: most - 1]}…", quote=False)
