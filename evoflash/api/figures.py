"""The figures of a run, drawn when they are asked for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.store import RunStore

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

DRAWING, DATA = "evoflash.report.figures", "evoflash.report.run_data"  # by name, since they import plotly


class Figures:
    """The figures of a run by name: every function of `evoflash.report.figures`, called on this run's data."""

    def __init__(self, db: str, run_id: int):
        self._db = db
        self._run_id = run_id

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        module = importlib.import_module(DRAWING)
        if name not in module.__all__:
            raise AttributeError(f"there is no figure {name!r}; choose from: {', '.join(sorted(module.__all__))}")
        draw = getattr(module, name)

        @functools.wraps(draw)
        def drawn(*arguments: Any, **options: Any) -> Figure:
            with RunStore.open(self._db) as store:
                data = importlib.import_module(DATA).RunData.read(store, self._run_id)
            return draw(data, *arguments, **options)

        return drawn

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *importlib.import_module(DRAWING).__all__])
