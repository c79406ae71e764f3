"""The report: one HTML file that needs no network. `write` makes it; loading this needs plotly (the extra `report`)."""

from evoflash.report.html.page import write

__all__ = ["write"]
