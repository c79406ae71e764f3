"""What every kernel's launch may answer."""

from __future__ import annotations

import ctypes

from evoflash.problems import Problem

INTERFACE = "evoflash_interface"
UNSUPPORTED = -1  # EVOFLASH_UNSUPPORTED of the headers


class LaunchError(Exception):
    """The kernel cannot be loaded, or its launcher returned an error code."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code


def require_interface(library: ctypes.CDLL, problem: Problem) -> None:
    """Raises LaunchError unless the library takes the struct of the problem: it would take one member for another."""
    header = problem.c_interface.header
    try:
        taken = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, INTERFACE)))
    except ValueError:
        raise LaunchError(
            f"the library has no {INTERFACE}: its source does not include {header} as this evoflash generates it; "
            "render it again"
        ) from None
    if taken.decode() != problem.c_interface.signature:
        raise LaunchError(f"the library takes another struct than {header} of this problem has; render it again")
