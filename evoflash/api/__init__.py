"""The Python interface, on which the commands stand: `search`, `open_run`, and the `Run` that both return."""

from evoflash.api.run import Run, open_run
from evoflash.api.searching import search

__all__ = ["Run", "open_run", "search"]
