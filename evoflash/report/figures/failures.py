"""How candidates ended, and which genes fail."""

from __future__ import annotations

from collections import Counter, defaultdict

import plotly.graph_objects as go

from evoflash.core.status import Status
from evoflash.errors import NothingToShowError
from evoflash.report.figures.theme import GREY, STATUS_COLOURS, frame, plain
from evoflash.report.run_data import RunData, shown

LEAST_TRIES = 4  # of a gene's value
SHOWN = 14  # values of genes


def failures(data: RunData) -> go.Figure:
    """How the candidates of each family ended.

    Raises:
        NothingToShowError: when the run has no candidates.
    """
    if not data.candidates:
        raise NothingToShowError(f"run {data.run.id} has no candidates yet; wait for its first")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for each in data.candidates:
        counts[each.family][each.status] += 1
    families = sorted(counts, key=lambda family: counts[family].total())
    figure = frame("How candidates ended", "candidates", "", height=130 + 34 * len(families))
    for status, colour in STATUS_COLOURS.items():
        if any(counts[family][status] for family in families):
            figure.add_bar(
                x=[counts[family][status] for family in families],
                y=families,
                orientation="h",
                name=status.value.replace("_", " "),
                marker={"color": colour},
                hovertemplate="%{y}: %{x} " + status.value.replace("_", " ") + "<extra></extra>",
            )
    figure.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"})
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def failing_genes(data: RunData) -> go.Figure:
    """The values of genes with which the largest share failed; the colour is the commonest failure.

    Raises:
        NothingToShowError: when nothing failed.
    """
    outcomes: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    several = len({each.family for each in data.candidates}) > 1
    for each in data.candidates:
        if each.status != Status.DUPLICATE:
            for name, value in each.genome.items():
                outcomes[each.family, name, shown(value)][each.status] += 1
    found = []
    for (family, name, value), counts in outcomes.items():
        failed = counts.total() - counts[Status.OK]
        if counts.total() >= LEAST_TRIES and failed:
            found.append((failed / counts.total(), failed, counts, f"{family}: " * several + f"{name} = {value}"))
    if not found:
        raise NothingToShowError(
            f"no gene has a value that failed and was tried {LEAST_TRIES} times; nothing needs a look"
        )
    found = sorted(found, key=lambda each: (each[0], each[1], each[3]))[-SHOWN:]
    kinds = [next(status for status, _ in counts.most_common() if status != Status.OK) for *_, counts, _ in found]
    figure = frame("What fails with which gene", "share that failed", "", height=110 + 26 * len(found))
    for kind in dict.fromkeys(kinds):
        rows = [row for row, its in zip(found, kinds, strict=True) if its == kind]
        figure.add_bar(
            x=[share for share, *_ in rows],
            y=[plain(label, 60) for *_, label in rows],
            orientation="h",
            name=kind.replace("_", " "),
            marker={"color": STATUS_COLOURS.get(Status(kind), GREY)},
            hovertext=[
                f"{plain(label)}<br>{failed} of {counts.total()} failed: {plain(dict(counts))}"
                for _, failed, counts, label in rows
            ],
            hoverinfo="text",
        )
    figure.update_xaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(
        type="category", showgrid=False, categoryorder="array", categoryarray=[plain(label, 60) for *_, label in found]
    )
    figure.update_layout(bargap=0.3, showlegend=True)
    return figure
