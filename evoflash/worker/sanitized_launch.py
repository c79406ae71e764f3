"""Launches a kernel under a sanitizer: without PyTorch, and with each tensor in an exact allocation of its own.

`python -m evoflash.worker.sanitized_launch LIBRARY cpu|cuda PROBLEMS.json` launches the kernel once per problem. It
prints how many problems the kernel accepted, and exits with 3 when the launcher returned an error code, or
takes another struct.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import math
import random
import struct
import sys
from collections.abc import Sequence
from typing import Any

from evoflash.plugins import problem_from_dict
from evoflash.problems import dtypes
from evoflash.system import processes
from evoflash.worker.launch import UNSUPPORTED, LaunchError, require_interface

SCALE = 1 / math.sqrt(3)  # of the uniform distribution, so that logits stay small
FORMATS = {"int64": "q", "int32": "i", "int16": "h", "int8": "b", "uint8": "B", "bool": "?"}  # of `struct`
LARGEST_EXPONENTS = {"float8_e4m3fn": 0x78, "float8_e5m2": 0x7C}  # from there on bytes may be NaN
PERIOD = 65521  # elements after which the values repeat, for speed; a prime, so that rows differ


class HostMemory:
    """Host memory from malloc, which sanitizers track."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = ctypes.c_void_p
        self._libc.malloc.argtypes = [ctypes.c_size_t]
        self._libc.free.argtypes = [ctypes.c_void_p]

    def allocate(self, size: int, content: bytes | None) -> int:
        """Allocates and fills memory; returns its address."""
        address = self._libc.malloc(size)
        if content is not None:
            ctypes.memmove(address, content, size)
        return address

    def free(self, address: int) -> None:
        """Frees an allocation."""
        self._libc.free(address)

    def synchronize(self) -> None:
        """Does nothing, since a CPU launch is synchronous."""


class DeviceMemory:
    """Device memory from the CUDA driver, in the primary context of the first device."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)

    def allocate(self, size: int, content: bytes | None) -> int:
        """Allocates and fills device memory; returns its address."""
        address = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        if content is not None:
            self._do("cuMemcpyHtoD_v2", address, content, ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Frees an allocation."""
        self._do("cuMemFree_v2", ctypes.c_uint64(address))

    def synchronize(self) -> None:
        """Waits for the kernel."""
        self._do("cuCtxSynchronize")

    def _do(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise OSError(f"{name} returned {code}")


class Block:
    """A tensor with the part of torch's interface that `Problem.arguments` uses."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: str, stride: tuple[int, ...] | None = None):
        self.shape, self.dtype = shape, dtype
        self._address = address
        self._stride = stride or tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._address

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def stride(self) -> tuple[int, ...]:
        """Strides in elements."""
        return self._stride

    def narrow(self, dimension: int, start: int, length: int) -> Block:
        """The first elements of a dimension, which `start` must say."""
        assert start == 0
        shape = (*self.shape[:dimension], length, *self.shape[dimension + 1 :])
        return Block(self._address, shape, self.dtype, self._stride)


def elements(count: int, dtype: str, rng: random.Random) -> bytes:
    """Random elements as bytes; the values repeat after `PERIOD` elements."""
    if count > PERIOD:
        once = elements(PERIOD, dtype, rng)
        return (once * (count // PERIOD + 1))[: len(once) // PERIOD * count]
    values = [SCALE * (2 * rng.random() - 1) for _ in range(count)]
    if dtype == "bool":
        return bytes(value > 0 for value in values)
    if dtype in LARGEST_EXPONENTS:
        return bytes(rng.randrange(LARGEST_EXPONENTS[dtype]) | rng.choice((0, 0x80)) for _ in range(count))
    if dtype == "float64":
        return struct.pack(f"<{count}d", *values)
    if dtype == "float16":
        return struct.pack(f"<{count}e", *values)
    words = struct.pack(f"<{count}f", *values)
    if dtype == "float32":
        return words
    assert dtype == "bfloat16", dtype
    return b"".join(words[at + 2 : at + 4] for at in range(0, len(words), 4))  # bfloat16: the upper half


def packed(values: Sequence[int], count: int, dtype: str) -> bytes:
    """Integers as bytes; fewer than `count` begin again."""
    repeated = itertools.islice(itertools.cycle(values), count)
    return struct.pack(f"<{count}{FORMATS[dtype]}", *repeated)


def launch(library: ctypes.CDLL, problem: Any, memory: HostMemory | DeviceMemory) -> int:
    """Launches the kernel on a problem; returns the launcher's code."""
    rng = random.Random(0)
    addresses: list[int] = []

    def block(shape: tuple[int, ...], dtype: str, content: bytes | None) -> Any:
        addresses.append(memory.allocate(dtypes.BYTES[dtype] * math.prod(shape), content))
        return Block(addresses[-1], shape, dtype)

    indices = problem.index_values()
    inputs = tuple(
        block(
            shape,
            dtype,
            packed(indices[number], math.prod(shape), dtype)
            if number in indices
            else elements(math.prod(shape), dtype, rng),
        )
        for number, (shape, dtype) in enumerate(zip(problem.input_shapes(), problem.input_dtypes(), strict=True))
    )
    outputs = tuple(
        block(each.shape, each.dtype, None) if each.updates is None else inputs[each.updates]
        for each in problem.outputs()
    )
    arguments = problem.arguments(inputs, outputs)
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
    """Entry point; returns 0 when every problem was computed or declined."""
    processes.restrain()
    path, device, problems = sys.argv[1:]
    memory = DeviceMemory() if device == "cuda" else HostMemory()
    library = ctypes.CDLL(path)
    library.evoflash_workspace_bytes.restype = ctypes.c_size_t
    library.evoflash_launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    with open(problems, encoding="utf-8") as file:
        wanted = [problem_from_dict(each) for each in json.load(file)]
    try:
        for problem in wanted:
            require_interface(library, problem)
    except LaunchError as error:
        print(error)
        return 3
    codes = [launch(library, problem, memory) for problem in wanted]
    failed = [code for code in codes if code not in (0, UNSUPPORTED)]
    print(f"launched {codes.count(0)} of {len(codes)}", flush=True)
    if failed:
        print(f"evoflash_launch returned {failed[0]}")
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
