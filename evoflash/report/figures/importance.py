"""Which genes decide."""

from __future__ import annotations

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import BLUE, frame
from evoflash.report.gene_importance import LEAST
from evoflash.report.run_data import RunData

SHOWN = 12  # genes; the rest weigh less


def importance(data: RunData) -> go.Figure:
    """The genes of the winner's family by how much worse a forest predicts log time without them.

    Raises:
        NothingToShowError: when too few candidates are correct.
    """
    found = data.importance
    if found is None:
        raise NothingToShowError(f"fewer than {LEAST} correct candidates differ in genes and time; search on")
    weights = found.weights[:SHOWN][::-1]
    figure = frame(
        f"What decides the time of {data.main_family}",
        "loss in R²",
        "",
        height=90 + 28 * len(weights),
    )
    figure.add_bar(
        x=[max(0.0, each.loss) for each in weights],
        y=[each.gene for each in weights],
        orientation="h",
        marker={"color": BLUE},
        error_x={"type": "data", "array": [each.spread for each in weights], "thickness": 1, "width": 3},
        hovertext=[f"{each.gene}: {each.loss:.3f} ± {each.spread:.3f}" for each in weights],
        hoverinfo="text",
    )
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(bargap=0.35)
    return figure
