"""Rivals: what other packages offer for a problem, timed as baselines where those packages are installed."""

from __future__ import annotations

import abc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

BoundCall = Callable[[], "torch.Tensor | tuple[torch.Tensor, ...]"]  # the one output, or all of them


class Rival(abc.ABC):
    """One function of another package.

    Only `load` and `bind` import the package, so everything else can be asked in a process without PyTorch.

    Attributes:
        name: its name among the baselines.
        module: what is imported.
        package: the distribution that installs the module, whose version is the rival's.
        targets: where it runs, "cuda" or "cpu".
        on_request: the targets on which it takes part only if the user names it.
        compiles: whether its first call compiles for many seconds, so that a search begins without it (`late`).
    """

    name: str
    module: str
    package: str
    targets: ClassVar[tuple[str, ...]] = ("cuda",)
    on_request: ClassVar[tuple[str, ...]] = ()
    compiles: ClassVar[bool] = False

    @property
    def is_installed(self) -> bool:
        """Whether there is such a module; it may still fail to import."""
        return is_installed(self.module)

    @property
    def version(self) -> str:
        """The version of the package, or what the imported module says; empty if neither is known."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return str(getattr(sys.modules.get(self.module), "__version__", ""))

    def load(self) -> Any:
        """Imports the module and returns what of it is called.

        Raises:
            Exception: whatever the module raises when it cannot be imported.
        """
        return importlib.import_module(self.module)

    @abc.abstractmethod
    def refusal(self, problem: Any) -> str:
        """Why it does not take a problem; empty if it may."""

    @abc.abstractmethod
    def bind(self, problem: Any, inputs: tuple[torch.Tensor, ...]) -> BoundCall:
        """A call on these inputs, which returns the outputs in the shapes of the problem.

        What precedes the computation is done here, where it is not timed: another layout of the inputs, a plan, a
        compilation. The call itself can be captured in a CUDA graph.

        Raises:
            Exception: whatever the package raises when it cannot be imported, or does not take the inputs.
        """


def late(names: Sequence[str], rivals: Iterable[Rival]) -> tuple[str, ...]:
    """Those of the names that only finals time: they compile, and a search need not wait for them."""
    compiled = {each.name for each in rivals if each.compiles}
    return tuple(name for name in names if name in compiled)


def is_installed(module: str) -> bool:
    """Whether a module can be found. Unlike `importlib.util.find_spec`, this does not import its parents."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return False
        # By its last name alone: the full name of a namespace package would ask for its parent in `sys.modules`.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec is not None
