"""Progress of a search for people, on standard error.

The search counts into `counts`, which knows nothing of how it is shown. `layout` makes the lines of a panel from it,
`line` a single one, and `terminal`, `plain` or `quiet` shows them, or nothing.
"""

from evoflash.report.live.counts import Counts
from evoflash.report.live.plain import PlainProgress
from evoflash.report.live.quiet import QuietProgress
from evoflash.report.live.shown import Shown, progress_of
from evoflash.report.live.terminal import TerminalProgress

__all__ = ["Counts", "PlainProgress", "QuietProgress", "Shown", "TerminalProgress", "progress_of"]
