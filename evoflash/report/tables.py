"""Tables on standard output: drawn on a terminal, plain lines when piped; no cell is truncated."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evoflash.core.record import Document


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        title: its title.
        columns: headers; a leading ">" aligns a column to the right.
        rows: cells as text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, title: str, columns: str, rows: Sequence[Sequence[object]]) -> "Sheet":
        """Creates a table from columns separated by "|" and cells of any type; None is shown as a dash."""
        cells = tuple(
            tuple("-" if cell is None else str(cell).strip().replace("\n", " / ") for cell in row) for row in rows
        )
        return cls(title, tuple(columns.split("|")), cells)

    @classmethod
    def facts(cls, title: str, facts: Mapping[str, object]) -> "Sheet":
        """Creates a table of names and values; nested mappings get dotted names."""
        return cls.of(title, "|", list(_flat(facts)))


def print_sheets(*sheets: Sheet) -> None:
    """Prints the tables that have rows to standard output."""
    console = Console(file=sys.stdout)
    for sheet in sheets:
        if not sheet.rows:
            continue
        if console.is_terminal:
            console.print(_drawn(sheet))
        else:
            print("\n".join(_plain(sheet)))


def print_json(document: Any) -> None:
    """Prints a JSON document to standard output; NaN and infinities, which JSON lacks, become null."""
    print(pydantic_core.to_json(document, indent=2, inf_nan_mode="null", fallback=str).decode())


def print_document(document: Document) -> None:
    """Prints what `--json` asks for: one object on standard output, described in docs/json.md."""
    print_json(document.model_dump())


def us(value: float | None) -> str | None:
    """Microseconds with four significant digits."""
    return None if value is None else digits(value)


def digits(value: float) -> str:
    """Four significant digits, without an exponent from 0.001 to 10 million."""
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    decimals = next((3 - power for power in range(4) if abs(value) < 10 ** (power + 1)), 0)
    return f"{value:.{decimals}f}"


def times(value: float | None, low: float | None = None, high: float | None = None) -> str | None:
    """A speed ratio, e.g. "1.52x [1.48, 1.55]"."""
    if value is None:
        return None
    interval = f" [{low:.3g}, {high:.3g}]" if low is not None and high is not None else ""
    return f"{value:.3g}x{interval}"


def duration(seconds: float | None) -> str | None:
    """Seconds as 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds is None:
        return None
    if seconds < 60 or not math.isfinite(seconds):
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _flat(facts: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else value))
    return rows


def _drawn(sheet: Sheet) -> Table:
    table = Table(title=Text(sheet.title), title_justify="left", show_header=any(sheet.columns))
    for column in sheet.columns:
        right = column.startswith(">")
        table.add_column(Text(column.lstrip(">")), justify="right" if right else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _plain(sheet: Sheet) -> list[str]:
    header = tuple(column.lstrip(">") for column in sheet.columns)
    lines = [*([header] if any(header) else []), *sheet.rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    shown = [sheet.title]
    for line in lines:
        cells = (
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(line, widths, sheet.columns, strict=True)
        )
        shown.append(("  " + "  ".join(cells)).rstrip())
    return [*shown, ""]
