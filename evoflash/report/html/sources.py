"""The sources that a page shows on click. Kernels of a family share most of their lines, so each line is kept once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evoflash.report.gene_importance import time_of
from evoflash.report.run_data import RunData
from evoflash.store import Written

MOST = 240  # sources of a run; those of 2,000 kernels would take longer to read than the rest of a report


def chosen(data: RunData) -> list[int]:
    """The ids of at most `MOST` candidates whose sources a page carries: those that matter, then the fastest."""
    finalists = data.finals.finalists if data.finals is not None else ()
    ids = [each.id for each in (*data.path, *data.improvements)]
    ids += [data.by_index[final.index].id for final in finalists]
    ids += [each.id for each in sorted(data.correct, key=time_of)[:MOST]]
    ids += [each.id for each in data.candidates]
    return list(dict.fromkeys(ids))[:MOST]


class Lines:
    """Texts as numbers of lines in one list."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._texts: dict[str, list[int]] = {}

    def add(self, key: str, text: str) -> None:
        """Adds a text. It becomes the differences of its lines' numbers, which compress well: most are 1."""
        numbers = self._numbers
        found = [numbers.setdefault(line, len(numbers)) for line in text.splitlines()]
        self._texts[key] = [this - before for before, this in zip([0, *found], found, strict=False)]

    def document(self) -> dict[str, Any]:
        """For the page's script."""
        return {"lines": list(self._numbers), "texts": self._texts}


def added(lines: Lines, sources: Mapping[int, Written], ids: Sequence[int]) -> None:
    """Adds the sources of candidates."""
    for each in ids:
        if each in sources:
            lines.add(str(each), sources[each].text)
