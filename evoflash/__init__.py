"""evoflash: evolutionary search for kernels.

    run = evoflash.search("mission", minutes=2)
    run.best.p50_us, run.best.vs_best
    run.export("fast_attention")

`search` and `open_run` return a `Run`; errors are those of `evoflash.errors`. See docs/python.md.
Start reading in `evoflash/search.py`; `docs/architecture.md` is the map of the rest.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from evoflash import errors as errors
from evoflash.version import __version__ as __version__

if TYPE_CHECKING:
    from evoflash.api import Run, open_run, record, search

__all__ = ["Run", "open_run", "record", "search"]


class _Package(ModuleType):
    """This package, whose names are imported when they are first used: `import evoflash` loads nothing else.

    `search` is both a function and the module that a newcomer opens first. Importing a submodule puts it into its
    package under its name; this one is kept out, so `evoflash.search` is the function whatever has been imported, and
    `from evoflash.search import Search` finds the module, as always, in `sys.modules`.
    """

    def __getattr__(self, name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module("evoflash.api"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name != "search" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
