"""Progress of a search for people, on standard error.

The search counts into `counts`, which knows nothing of how it is shown. `layout` makes the lines of a panel from it,
`line` a single one, and `terminal` or `plain` shows them.
"""

from evoflash.report.live.counts import Counts
from evoflash.report.live.devices import Devices
from evoflash.report.live.plain import PlainProgress
from evoflash.report.live.shown import Shown, progress_of
from evoflash.report.live.terminal import TerminalProgress

__all__ = ["Counts", "Devices", "PlainProgress", "Shown", "TerminalProgress", "progress_of"]
