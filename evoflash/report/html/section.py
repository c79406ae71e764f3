"""A section of the page: figures, tables and code, in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report.tables import Sheet


@dataclass(frozen=True)
class Slot:
    """A figure, or the reason why there is none.

    Attributes:
        words: what to look for in it.
        wide: takes the whole width.
    """

    id: str
    title: str
    figure: go.Figure | None
    words: str = ""
    missing: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Text in a fixed font.

    Attributes:
        rows: (kind, line): "add", "del", "hunk" or "" of a diff.
        language: for highlighting; empty for a diff.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    language: str = ""
    words: str = ""
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page; `folded` tables open on request."""

    id: str
    title: str
    words: str = ""
    slots: tuple[Slot, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    folded: tuple[Sheet, ...] = ()
    codes: tuple[Code, ...] = ()
    finder: bool = False  # a field that opens a candidate by its id


def drawn(key: str, title: str, words: str, draw: Callable[[], go.Figure], *, wide: bool = False) -> Slot:
    """A figure, or why there is none; the page has its title, so the figure loses its own."""
    try:
        figure = draw()
    except NothingToShowError as error:
        return Slot(key, title, None, missing=str(error), wide=wide)
    traces = figure.to_plotly_json()["data"]
    has_legend = sum("name" in each and each.get("showlegend", True) for each in traces) > 1
    figure.update_layout(title=None, margin={"t": 34 if has_legend else 10})
    return Slot(key, title, figure, words, wide=wide)


def slots_of(sections: Sequence[Section]) -> list[Slot]:
    """All figures of some sections."""
    return [slot for section in sections for slot in section.slots]
