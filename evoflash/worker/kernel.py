"""A built kernel, loaded into this process."""

from __future__ import annotations

import _ctypes
import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evoflash.problems import Inputs, Problem

if TYPE_CHECKING:
    import torch

UNSUPPORTED = -1  # EVOFLASH_UNSUPPORTED of the problem's header


class LaunchError(Exception):
    """The kernel cannot be loaded, or its launcher answered an error code."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code


class Kernel:
    """The two functions of a library, called with tensors; as a context manager it unloads the library at the end.

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
        """Unloads a CPU library; no call that `bind` made may be used any more.

        A CUDA library stays: its module is the context's, and graphs that were captured may still name it.
        """
        if not self._on_device:
            _ctypes.dlclose(self._library._handle)

    def bind(
        self,
        problem: Problem,
        inputs: Inputs,
        out: torch.Tensor,
        allocate: Callable[[int], torch.Tensor] | None = None,
    ) -> Callable[[], None]:
        """A call without arguments that launches on these tensors, on the stream that is current when it is called.

        `allocate` makes the workspace, of so many bytes; PyTorch does by default. The call raises LaunchError when the
        launcher answers an error code.
        """
        import torch

        self._on_device = self._on_device or out.device.type != "cpu"
        arguments = problem.arguments(inputs, out)
        address = ctypes.addressof(arguments)
        size = self._workspace_bytes(address)
        allocate = allocate or functools.partial(torch.empty, dtype=torch.uint8, device=out.device)
        workspace = allocate(size) if size else None
        arguments.workspace = workspace.data_ptr() if workspace is not None else None  # type: ignore[attr-defined]
        # torch.cuda.current_stream() takes longer than most kernels run; this is what it asks underneath.
        device = out.device.index if out.device.type == "cuda" else None
        launch = self._launch

        def call(_keep: object = (arguments, workspace, inputs, out)) -> None:
            stream = torch._C._cuda_getCurrentRawStream(device) if device is not None else None
            code = launch(address, stream)
            if code:
                meaning = "it does not take this problem" if code == UNSUPPORTED else "the runtime's error code"
                raise LaunchError(f"evoflash_launch answered {code}: {meaning}", code)

        return call
