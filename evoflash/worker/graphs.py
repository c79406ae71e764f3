"""CUDA graphs, looked at while they are captured: whether every launch has left something in them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any


def nodes_captured(stream: int) -> int:
    """Nodes (kernels, copies, memsets) of the graph that a stream, by its handle, is captured into until here.

    Raises:
        RuntimeError: when the driver fails.
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
        raise RuntimeError(f"{name} answers {code}")


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")
