"""A built kernel, loaded into this process."""

from __future__ import annotations

import _ctypes
import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evoflash.problems import Inputs, Outputs, Problem
from evoflash.worker.launch import UNSUPPORTED, LaunchError, require_interface
from evoflash.worker.python_kernel import PythonKernel

if TYPE_CHECKING:
    import torch


class Kernel:
    """A loaded library with its two functions. As a context manager it unloads the library at the end.

    Raises:
        LaunchError: when the library does not load or lacks a function.
    """

    def __init__(self, library: Path):
        try:
            self._library = ctypes.CDLL(str(library))
            self._launch = self._library.evoflash_launch
            self._workspace_bytes = self._library.evoflash_workspace_bytes
        except (OSError, AttributeError) as error:
            raise LaunchError(f"the library does not load: {error}") from None
        self._on_device = False
        self._launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._launch.restype = ctypes.c_int
        self._workspace_bytes.argtypes = [ctypes.c_void_p]
        self._workspace_bytes.restype = ctypes.c_size_t

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        """Unloads a CPU library; calls made by `bind` must not be used afterwards.

        A CUDA library stays loaded: its module belongs to the context, and captured graphs may still refer to it.
        """
        if not self._on_device:
            _ctypes.dlclose(self._library._handle)

    def bind(
        self,
        problem: Problem,
        inputs: Inputs,
        outputs: Outputs,
        allocate: Callable[[int], torch.Tensor] | None = None,
    ) -> Callable[[], None]:
        """Returns a function without arguments that launches the kernel on these tensors, on the current stream.

        It raises LaunchError when the launcher returns an error code.

        Args:
            allocate: allocates the workspace, given its size in bytes; by default `torch.empty`.

        Raises:
            LaunchError: when the library was built for another struct than the problem's.
        """
        import torch

        require_interface(self._library, problem)
        where = outputs[0].device
        self._on_device = self._on_device or where.type != "cpu"
        arguments = problem.arguments(inputs, outputs)
        address = ctypes.addressof(arguments)
        size = self._workspace_bytes(address)
        allocate = allocate or functools.partial(torch.empty, dtype=torch.uint8, device=where)
        workspace = allocate(size) if size else None
        arguments.workspace = workspace.data_ptr() if workspace is not None else None  # type: ignore[attr-defined]
        # torch.cuda.current_stream() takes longer than most kernels run; this is the call that it wraps.
        device = where.index if where.type == "cuda" else None
        launch = self._launch

        def call(_keep: object = (arguments, workspace, inputs, outputs)) -> None:
            stream = torch._C._cuda_getCurrentRawStream(device) if device is not None else None
            code = launch(address, stream)
            if code:
                meaning = "unsupported problem" if code == UNSUPPORTED else "error code of the runtime"
                raise LaunchError(f"evoflash_launch returned {code}: {meaning}", code)

        return call


AnyKernel = Kernel | PythonKernel


def load(library: Path) -> AnyKernel:
    """The kernel of a library, or of a Python module.

    Raises:
        LaunchError: when it does not load, or lacks a function.
    """
    return PythonKernel(library) if library.suffix == ".py" else Kernel(library)
