"""The profile of the winner."""

from __future__ import annotations

from evoflash.report.html.section import Section
from evoflash.report.run_data import RunData
from evoflash.report.tables import Sheet, digits, us


def profile(data: RunData) -> Section | None:
    """What a profiler said of the winner; the section appears where one was asked."""
    profile = data.profile
    if profile is None or data.winner is None:
        return None
    head = {"tool": profile.tool, "device": profile.device, "time, µs": us(profile.time_us)}
    floors = [(name, us(value)) for name, value in profile.floors_us.items()]
    counters = Sheet.facts("Counters", {name: digits(value) for name, value in profile.counters.items()})
    sheets = (Sheet.of("In words", "", [(each,) for each in profile.words[1:]]),)
    sheets += (Sheet.facts("Taken", {name: value for name, value in head.items() if value}),)
    sheets += (Sheet.of("At the measured rates it takes", "floor|>µs", floors),)
    return Section("profile", "Profile", "".join(profile.words[:1]), sheets=sheets, folded=(counters,))
