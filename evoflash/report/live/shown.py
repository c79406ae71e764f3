"""The progress that suits where standard error goes."""

from __future__ import annotations

from rich.console import Console

from evoflash.report.live.counts import Counts
from evoflash.report.live.plain import PlainProgress
from evoflash.report.live.terminal import TerminalProgress

Shown = PlainProgress | TerminalProgress


def progress_of(counts: Counts, *, plain: bool = False) -> Shown:
    """A panel on a terminal that can show one, lines elsewhere.

    Args:
        plain: lines in any case, since other output goes there too.
    """
    console = Console(stderr=True)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainProgress(counts, console)
    return TerminalProgress(counts, console)
