"""The figures of a run, drawn when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from evoflash.store import RunStore

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

OF_SEVERAL = "comparison"  # takes the data of several runs


class Figures:
    """The figures of a run by name: the functions of `evoflash.report.figures`, called on this run's data."""

    def __init__(self, db: str, run_id: int):
        self._db = db
        self._run_id = run_id

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        from evoflash.report import figures  # loads plotly, which only figures need
        from evoflash.report.run_data import RunData

        if name not in dir(self):
            raise AttributeError(f"there is no figure {name!r}; choose from: {', '.join(dir(self))}")
        draw = getattr(figures, name)

        @functools.wraps(draw)
        def drawn(*arguments: Any, **options: Any) -> Figure:
            with RunStore.open(self._db) as store:
                data = RunData.read(store, self._run_id)
            return draw(data, *arguments, **options)

        return drawn

    def __dir__(self) -> list[str]:
        from evoflash.report import figures

        return sorted(set(figures.__all__) - {OF_SEVERAL})
