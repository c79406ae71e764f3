"""What installed packages provide under the name of an entry-point group."""

import functools
import logging
from importlib import metadata
from typing import Any

_log = logging.getLogger(__name__)


@functools.cache
def loaded(group: str) -> dict[str, Any]:
    """The objects of a group, by name.

    One that cannot be loaded is left out, and a line on standard error says so: a plug-in that is broken, or whose
    package went without its metadata, must not end commands that do not use it.
    """
    found = {}
    for entry in metadata.entry_points(group=group):
        try:
            found[entry.name] = entry.load()
        except (Exception, SystemExit) as error:  # whatever a module of others does when it is imported
            package = entry.dist.name if entry.dist is not None else "an unknown package"
            why = f"{type(error).__name__}: {error}"
            _log.warning("the plug-in %s (%s) of %s is left out: %s", entry.name, group, package, why)
    return found
