"""Figures of a run: functions from `RunData` to plotly's `Figure`, each in the file of its name.

A function raises NothingToShowError, with the reason, where the run has not recorded what it shows. Loading this needs
plotly (the extra `report`), so nothing loads it but what draws.
"""

from evoflash.errors import MissingError

try:
    import plotly.graph_objects  # noqa: F401
except ImportError:
    raise MissingError("figures need plotly, which is not installed; run: pip install 'evoflash[report]'") from None

from evoflash.report.figures.comparison import comparison
from evoflash.report.figures.failures import failing_genes, failures
from evoflash.report.figures.gene import gene
from evoflash.report.figures.importance import importance
from evoflash.report.figures.lineage import lineage
from evoflash.report.figures.niches import niches
from evoflash.report.figures.pace import pace
from evoflash.report.figures.progress import progress
from evoflash.report.figures.ratios import ratios
from evoflash.report.figures.resources import resources
from evoflash.report.figures.roofline import roofline
from evoflash.report.figures.samples import samples

__all__ = [
    "comparison",
    "failing_genes",
    "failures",
    "gene",
    "importance",
    "lineage",
    "niches",
    "pace",
    "progress",
    "ratios",
    "resources",
    "roofline",
    "samples",
]
