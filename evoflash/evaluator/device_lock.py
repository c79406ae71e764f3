"""The lock of a device, which is timed by one process at a time."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from filelock import FileLock

from evoflash.targets import Target


def device_lock(target: Target) -> FileLock:
    """The lock under which a device is timed; all processes of this machine share it."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{target.name}-{target.uuid or target.device}")[:60]
    return FileLock(Path(tempfile.gettempdir()) / f"evoflash-{name}.lock", mode=0o666)
