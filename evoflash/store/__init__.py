"""The one database of runs, and Optuna's view of it."""

from evoflash.store.mirror import StudyMirror
from evoflash.store.records import Ancestor, Insight, Outcome, RunSummary, StoredCandidate
from evoflash.store.store import RunStore

__all__ = ["Ancestor", "Insight", "Outcome", "RunStore", "RunSummary", "StoredCandidate", "StudyMirror"]
