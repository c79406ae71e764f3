"""Queries. Each function makes a fixed number of queries, independent of the number of candidates."""

from evoflash.store.reading.candidates import Evidence, read_candidates, read_profile, read_sources, read_summaries
from evoflash.store.reading.lineage import read_ancestry, read_relatives
from evoflash.store.reading.runs import read_devices, read_fastest, read_improvements, read_runs, read_tally

__all__ = [
    "Evidence",
    "read_ancestry",
    "read_candidates",
    "read_devices",
    "read_fastest",
    "read_improvements",
    "read_profile",
    "read_relatives",
    "read_runs",
    "read_sources",
    "read_summaries",
    "read_tally",
]
