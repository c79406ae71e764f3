"""The Python interface, on which the commands stand: `search` and `open_run`, which return a `Run`, and `record`."""

from evoflash.api.recording import record
from evoflash.api.run import Run, open_run
from evoflash.api.searching import search

__all__ = ["Run", "open_run", "record", "search"]
