"""The samples of the finals."""

from __future__ import annotations

from evoflash.report import figures
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData


def samples(data: RunData) -> Section | None:
    """The samples of the finals, warm and cold; None before the finals."""
    if data.finals is None:
        return None
    words = (
        "Small points are samples, boxes their quartiles, diamonds medians with 95 % bootstrap intervals. What "
        "takes more than three times as long as the fastest is off the axis."
    )
    slots = [
        drawn(f"{data.run.id}-samples-warm", "Warm: inputs in the cache", "", lambda: figures.samples(data), wide=True)
    ]
    if any(final.cold is not None for final in data.finals.finalists):
        slots.append(
            drawn(
                f"{data.run.id}-samples-cold",
                "Cold: input sets rotated beyond L2",
                "",
                lambda: figures.samples(data, "cold"),
                wide=True,
            )
        )
    return Section("samples", "Samples of the finals", words, tuple(slots))
