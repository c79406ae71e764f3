"""Times and counts as the live view writes them: short, and as wide at the next moment as at this one."""

from __future__ import annotations


def us(value: float) -> str:
    """Three significant digits or more: 8.41 us, 12.30 ms."""
    return f"{value:.2f} us" if value < 1000 else f"{value / 1000:.2f} ms"


def against(baseline_us: float, best_us: float | None) -> str:
    """How many times faster the best is, or nothing while there is none."""
    return f"{baseline_us / best_us:.2f}x" if best_us else ""


def clock(seconds: float) -> str:
    """3:07, or 1:03:07."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
