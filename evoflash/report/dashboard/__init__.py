"""The runs in a browser, by optuna-dashboard.

`studies` copies runs from the database into memory, `trials` says what is told of a candidate, `server` serves the
copies. The database is only read, so it may be read-only, or written by a search meanwhile.
"""

from evoflash.report.dashboard.server import Server
from evoflash.report.dashboard.studies import Studies

__all__ = ["Server", "Studies"]
