"""Node counts of CUDA graphs during capture, which show whether every launch was captured."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


def nodes_captured(stream: int) -> int:
    """The number of nodes (kernels, copies, memsets) captured so far on a stream, given by its handle.

    Raises:
        RuntimeError: when a driver call fails.
    """
    status, identity, count = ctypes.c_int(), ctypes.c_uint64(), ctypes.c_size_t()
    graph, dependencies = ctypes.c_void_p(), ctypes.c_void_p()
    places = (ctypes.byref(each) for each in (status, identity, graph, dependencies, count))
    _do("cuStreamGetCaptureInfo_v2", ctypes.c_void_p(stream), *places)
    _do("cuGraphGetNodes", graph, None, ctypes.byref(count))
    return count.value


def _do(name: str, *arguments: Any) -> None:
    code = getattr(_driver(), name)(*arguments)
    if code:
        raise RuntimeError(f"{name} returned {code}")


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")
