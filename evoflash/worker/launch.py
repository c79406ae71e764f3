"""What every kernel's launch may answer."""

from __future__ import annotations

UNSUPPORTED = -1  # EVOFLASH_UNSUPPORTED of the headers


class LaunchError(Exception):
    """The kernel cannot be loaded, or its launcher returned an error code."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code
