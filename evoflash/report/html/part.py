"""A run's part of the page: its headline and its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evoflash.report.html import sections
from evoflash.report.html.headline import Headline, headline
from evoflash.report.html.section import Section
from evoflash.report.run_data import RunData
from evoflash.store import Written


@dataclass(frozen=True)
class Part:
    """A run's part of the page."""

    run: int
    title: str
    device: str
    headline: Headline
    sections: tuple[Section, ...] = field(default=())


def part(data: RunData, sources: Mapping[int, Written]) -> Part:
    """Everything that a page says of one run."""
    made = [
        sections.result(data),
        sections.progress(data),
        sections.lineage(data, sources),
        sections.genes(data),
        sections.outcomes(data),
        sections.hardware(data),
        sections.profile(data),
        sections.samples(data),
        sections.winner(data, sources),
        sections.machine(data),
    ]
    own = tuple(replace(each, id=f"run-{data.run.id}-{each.id}") for each in made if each is not None)
    return Part(data.run.id, data.title, data.device, headline(data), own)
