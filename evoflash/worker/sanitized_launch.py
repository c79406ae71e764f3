"""Launches a kernel without PyTorch, on memory that ends where its tensors end: what sanitizers want to watch.

`python -m evoflash.evaluator.sanitized_launch LIBRARY cpu|cuda PROBLEMS.json` allocates every tensor apart and launches
once for each problem. It prints how many problems the kernel took; an error code of the launcher ends it with 3.
"""

from __future__ import annotations

import ctypes
import json
import math
import random
import struct
import sys
from typing import Any

from evoflash.plugins import problem_from_dict
from evoflash.system import processes

UNSUPPORTED = -1
SCALE = 1 / math.sqrt(3)  # of a uniform distribution, so that logits stay small
PERIOD = 65521  # elements that repeat, a prime: no two rows are alike, and a large tensor is made at once


class HostMemory:
    """malloc and free, which a sanitizer watches."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.free.argtypes = [ctypes.c_void_p]

    def allocate(self, size: int, content: bytes | None) -> int:
        """An address."""
        address = self._libc.malloc(size)
        if content is not None:
            ctypes.memmove(address, content, size)
        return address

    def free(self, address: int) -> None:
        """Gives it back."""
        self._libc.free(address)

    def synchronize(self) -> None:
        """Nothing is left to wait for."""


class DeviceMemory:
    """The driver's allocations, in the primary context of the first device."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)

    def allocate(self, size: int, content: bytes | None) -> int:
        """An address on the device."""
        address = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        if content is not None:
            self._do("cuMemcpyHtoD_v2", address, content, ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Gives it back."""
        self._do("cuMemFree_v2", ctypes.c_uint64(address))

    def synchronize(self) -> None:
        """Waits for the kernel."""
        self._do("cuCtxSynchronize")

    def _do(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise OSError(f"{name} answers {code}")


class Block:
    """A contiguous tensor: as much of torch's as `Problem.arguments` asks for."""

    def __init__(self, address: int, shape: tuple[int, ...]):
        self._address = address
        self._stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

    def data_ptr(self) -> int:
        """Its address."""
        return self._address

    def stride(self) -> tuple[int, ...]:
        """In elements."""
        return self._stride


def elements(count: int, dtype: str, rng: random.Random) -> bytes:
    """Random elements as they lie in memory, the same again after `PERIOD`."""
    if count > PERIOD:
        once = elements(PERIOD, dtype, rng)
        return (once * (count // PERIOD + 1))[: len(once) // PERIOD * count]
    values = [SCALE * (2 * rng.random() - 1) for _ in range(count)]
    if dtype == "float16":
        return struct.pack(f"<{count}e", *values)
    words = struct.pack(f"<{count}f", *values)
    if dtype == "float32":
        return words
    return b"".join(words[at + 2 : at + 4] for at in range(0, len(words), 4))  # bfloat16: the upper half


def launch(library: ctypes.CDLL, problem: Any, memory: HostMemory | DeviceMemory) -> int:
    """The launcher's answer."""
    dtype, rng = problem.facts()["dtype"], random.Random(0)
    width = 4 if dtype == "float32" else 2
    addresses: list[int] = []

    def block(shape: tuple[int, ...], content: bool) -> Any:
        count = math.prod(shape)
        addresses.append(memory.allocate(width * count, elements(count, dtype, rng) if content else None))
        return Block(addresses[-1], shape)

    inputs = tuple(block(shape, True) for shape in problem.input_shapes())
    arguments = problem.arguments(inputs, block(problem.output_shape(), False))
    size = library.evoflash_workspace_bytes(ctypes.byref(arguments))
    if size:
        addresses.append(memory.allocate(size, None))
        arguments.workspace = addresses[-1]
    code = library.evoflash_launch(ctypes.byref(arguments), None)
    memory.synchronize()
    for address in addresses:
        memory.free(address)
    return code


def main() -> int:
    """0 when every problem was computed or declined."""
    processes.restrain()
    path, device, problems = sys.argv[1:]
    memory = DeviceMemory() if device == "cuda" else HostMemory()
    library = ctypes.CDLL(path)
    library.evoflash_workspace_bytes.restype = ctypes.c_size_t
    library.evoflash_launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    with open(problems, encoding="utf-8") as file:
        wanted = [problem_from_dict(each) for each in json.load(file)]
    codes = [launch(library, problem, memory) for problem in wanted]
    failed = [code for code in codes if code not in (0, UNSUPPORTED)]
    print(f"launched {codes.count(0)} of {len(codes)}", flush=True)
    if failed:
        print(f"evoflash_launch answered {failed[0]}")
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
