"""What the genes do to the time."""

from __future__ import annotations

from evoflash.report import figures
from evoflash.report.gene_importance import genes_of
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData

FIGURES_OF_GENES = 6


def genes(data: RunData) -> Section:
    """What the winner's genes do to the time: a forest's view, niches, and a figure for each of the weightiest."""
    run, found = data.run.id, data.importance
    slots = [
        drawn(
            f"{run}-importance",
            "What decides the time",
            "A bar is how much worse a forest predicts log time of candidates it has not seen, when that gene's values "
            "are shuffled among them.",
            lambda: figures.importance(data),
        ),
        drawn(
            f"{run}-niches",
            "Best time by two genes",
            "A cell is the best time in µs with these values; blank cells were never correct or never tried.",
            lambda: figures.niches(data),
        ),
    ]
    if any(each.registers is not None for each in data.correct):
        slots.append(
            drawn(
                f"{run}-niches-resources",
                "Best time by resources",
                "The niches of the population map-elites: what decides how many blocks run at once.",
                lambda: figures.niches(data, "resources"),
            )
        )
    names = (
        [each.gene for each in found.weights]
        if found is not None
        else list(genes_of(data.children_of(data.main_family or "")))
    )
    slots += [
        drawn(
            f"{run}-gene-{name}",
            f"Time by {name}",
            "Boxes are quartiles of all candidates with that value, diamonds the fastest.",
            lambda name=name: figures.gene(data, name),
        )
        for name in names[: FIGURES_OF_GENES - len(slots)]
    ]
    words = ""
    if found is not None:
        trust = "which is little, so read the bars with care" if found.r2 < 0.5 else "so the bars can be trusted"
        words = (
            f"Of {data.main_family}, the winner's family. The forest explains {max(0.0, found.r2):.0%} of the variance "
            f"of log time of candidates that it has not seen, {trust}."
        )
    return Section("genes", "Genes", words, tuple(slots))
