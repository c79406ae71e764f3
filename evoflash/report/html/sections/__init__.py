"""What the page shows of a run, a section a file: each takes `RunData`, and gives a `Section` or None."""

from evoflash.report.html.sections.genes import genes
from evoflash.report.html.sections.hardware import hardware
from evoflash.report.html.sections.lineage import lineage
from evoflash.report.html.sections.machine import machine
from evoflash.report.html.sections.outcomes import outcomes
from evoflash.report.html.sections.profile import profile
from evoflash.report.html.sections.progress import progress
from evoflash.report.html.sections.result import result
from evoflash.report.html.sections.samples import samples
from evoflash.report.html.sections.winner import winner

__all__ = ["genes", "hardware", "lineage", "machine", "outcomes", "profile", "progress", "result", "samples", "winner"]
