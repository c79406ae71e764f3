"""The one database of runs, and Optuna's view of it."""

from evoflash.store.mirror import StudyMirror
from evoflash.store.records import Ancestor, Insight, Outcome, Relative, RunSummary, StoredCandidate, Tally
from evoflash.store.store import RunStore

__all__ = [
    "Ancestor",
    "Insight",
    "Outcome",
    "Relative",
    "RunStore",
    "RunSummary",
    "StoredCandidate",
    "StudyMirror",
    "Tally",
]
