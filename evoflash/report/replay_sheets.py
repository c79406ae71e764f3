"""Comparison of strategies on recorded spaces, as tables and convergence curves."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evoflash.replay import Recording, Standing, Trace
from evoflash.report.tables import Sheet

CURVES = "curves.csv"


def replay_sheets(standings: Sequence[Standing], evaluations: int) -> list[Sheet]:
    """A table over all spaces, and a table by space."""
    marks = list(standings[0].medians)
    has_seconds = all(each.s95 is not None for each in standings)
    columns = [
        "strategy",
        ">score",
        "95 % interval",
        ">ev95",
        *([">s95"] if has_seconds else []),
        *(f">@{mark}" for mark in marks),
        *(f">P(95 %)@{mark}" for mark in marks),
        ">p vs first",
        ">ms per proposal",
    ]
    rows = [
        (
            each.strategy,
            f"{each.score:.3f}",
            "[{:.3f}, {:.3f}]".format(*each.score_interval),
            f"{each.ev95:.0f}",
            *([f"{each.s95:.0f}"] if has_seconds else []),
            *(f"{each.medians[mark]:.3f}" for mark in marks),
            *(f"{each.reached[mark]:.2f}" for mark in marks),
            None if each.p_value is None else f"{each.p_value:.2g}",
            f"{each.proposal_ms:.2f}",
        )
        for each in standings
    ]
    spaces = list(standings[0].by_space)
    by_space = [
        (name, *(f"{each.by_space[name]['score']:.3f} / {each.by_space[name]['ev95']:.0f}" for each in standings))
        for name in spaces
    ]
    return [
        Sheet.of(f"{len(spaces)} spaces, {evaluations} evaluations", "|".join(columns), rows),
        Sheet.of("score / ev95 by space", "|".join(["space", *(f">{each.strategy}" for each in standings)]), by_space),
    ]


def write_curves(folder: Path, traces: Sequence[Trace], recordings: Mapping[str, Recording]) -> Path:
    """Writes the convergence as CSV: quartiles over the seeds of the fraction of the optimum after each evaluation."""
    path = folder / CURVES
    groups: dict[tuple[str, str], list[Trace]] = {}
    for trace in traces:
        groups.setdefault((trace.strategy, trace.space), []).append(trace)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["strategy", "space", "evaluations", "lower_quartile", "median", "upper_quartile"])
        for (strategy, space), own in groups.items():
            fractions = recordings[space].optimum_us / np.array([trace.best_us for trace in own])
            for number, quartiles in enumerate(np.quantile(fractions, (0.25, 0.5, 0.75), axis=0).T, start=1):
                writer.writerow([strategy, space, number, *(f"{each:.5f}" for each in quartiles)])
    return path
