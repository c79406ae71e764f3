"""A kernel that is a Python module, for example of Triton: its function `launch` takes the problem's tensors."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evoflash.problems import Inputs, Outputs, Problem
from evoflash.worker.launch import UNSUPPORTED, LaunchError

LAUNCH = "launch"


class PythonKernel:
    """A loaded module with its function `launch`.

    Raises:
        LaunchError: when the module does not run, or has no such function.
    """

    def __init__(self, path: Path):
        name = f"evoflash_kernel_{path.parent.name}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # Triton looks up the source of its functions
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the module raises
            raise LaunchError(f"the module does not load: {_words(error)}") from None
        finally:
            del sys.modules[name]
        self._launch = getattr(module, LAUNCH, None)
        if not callable(self._launch):
            raise LaunchError(f"the module has no function {LAUNCH}")

    def __enter__(self) -> PythonKernel:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to unload: Python frees the module."""

    def bind(self, problem: Problem, inputs: Inputs, outputs: Outputs, allocate: object = None) -> Callable[[], None]:
        """Returns a function without arguments that launches the kernel on these tensors, on the current stream.

        It raises LaunchError when the kernel answers with a code, or raises.
        """
        launch: Callable[..., Any] = self._launch  # type: ignore[assignment]
        named = dict(problem.named(inputs, outputs))

        def call() -> None:
            try:
                code = launch(**named)
            except Exception as error:
                if "CUDA" in str(error):  # the device's; the worker finds out whether it is lost
                    raise
                raise LaunchError(f"{LAUNCH} raises {_words(error)}") from None
            if code:
                meaning = "unsupported problem" if code == UNSUPPORTED else "a code of its own"
                raise LaunchError(f"{LAUNCH} returned {code}: {meaning}", code)

        return call


def _words(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
