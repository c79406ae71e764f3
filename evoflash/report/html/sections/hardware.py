"""Candidates beside what the device attains."""

from __future__ import annotations

from evoflash.report import figures
from evoflash.report.figures.resources import Resource
from evoflash.report.figures.roofline import bounds_of, measured_of
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData

RESOURCES: dict[Resource, str] = {
    "registers": "Registers against time",
    "shared": "Shared memory against time",
    "occupancy": "Occupancy against time",
}
OF: dict[Resource, str] = {
    "registers": "",
    "shared": "",
    "occupancy": "Of families with a gene for the threads of a block, and of the winner's.",
}


def hardware(data: RunData) -> Section:
    """Candidates beside what the device attains, as far as that was measured, and against what they take of it."""
    run = data.run.id
    words = ""
    if measured_of(data) is not None:
        words = (
            "The solid lines were measured with the winner's profile: the pace of a copy beyond the caches, and of a "
            "matrix product. A kernel whose data stays in the caches may be above the first."
        )
    elif bounds_of(data) is not None:
        words = (
            "Rates of this device were not measured. The dashed lines are upper bounds of its kind: arithmetic with "
            "every unit busy at the highest clock, and loads from the nearest cache. The bandwidth of its memory is "
            "not on record until `evoflash profile` measures it, so kernels that wait for memory stay well below them."
        )
    slots = [
        drawn(
            f"{run}-roofline",
            "Roofline",
            "All candidates compute the same, so they stand above each other; intensity counts only bytes that must be "
            "moved.",
            lambda: figures.roofline(data),
        )
    ]
    if any(each.registers is not None for each in data.correct):
        slots += [
            drawn(f"{run}-{what}", title, OF[what], lambda what=what: figures.resources(data, what))
            for what, title in RESOURCES.items()
        ]
    return Section("hardware", "Hardware", words, tuple(slots))
