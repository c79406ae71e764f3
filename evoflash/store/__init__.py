"""The database of runs, and its copy for optuna-dashboard."""

from evoflash.store.mirror import StudyMirror
from evoflash.store.records import (
    Ancestor,
    CandidateSummary,
    DeviceTally,
    Insight,
    Outcome,
    Relative,
    RunSummary,
    StoredCandidate,
    Tally,
    Written,
)
from evoflash.store.store import RunStore

__all__ = [
    "Ancestor",
    "CandidateSummary",
    "DeviceTally",
    "Insight",
    "Outcome",
    "Relative",
    "RunStore",
    "RunSummary",
    "StoredCandidate",
    "StudyMirror",
    "Tally",
    "Written",
]
