"""Linear algebra on one thread: the matrices are small, and the cores are needed for compilers."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Within it, NumPy and SciPy use one thread."""
    return _controller().limit(limits=1)


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  loads its library, so that the controller finds it
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
