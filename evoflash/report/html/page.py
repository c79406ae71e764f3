"""The page: one file with everything in it."""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from evoflash.errors import StorageError
from evoflash.report.html import comparison as compared
from evoflash.report.html import sources as kept
from evoflash.report.html.bundle import packed, plotly_js
from evoflash.report.html.part import Part, part
from evoflash.report.html.section import Section, slots_of
from evoflash.report.run_data import RunData, changes, shown
from evoflash.store import CandidateSummary, RunStore
from evoflash.version import __version__


def write(store: RunStore, run_ids: Sequence[int], path: Path) -> Path:
    """Writes the report of runs, in the order in which they are named, and gives the path.

    Several runs are compared before each is shown. The file needs no network, and its folder is made.

    Raises:
        NotFoundError: when there is no such run.
        StorageError: when the file cannot be written.
    """
    page = render([RunData.read(store, run_id) for run_id in run_ids], store)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another --out") from None
    return path


def render(runs: Sequence[RunData], store: RunStore) -> str:
    """The page as text."""
    lines = kept.Lines()
    parts: list[Part] = []
    candidates: dict[str, Any] = {}
    for data in runs:
        ids = kept.chosen(data)
        found = store.sources(ids)
        kept.added(lines, found, ids)
        parts.append(part(data, found))
        shown_one_by_one = (*data.thinned(data.candidates), *data.origins)
        candidates |= {str(each.id): _facts(data, each) for each in shown_one_by_one}
    comparison = compared.comparison(runs) if len(runs) > 1 else None
    sections: list[Section] = [comparison] if comparison is not None else []
    sections += [section for each in parts for section in each.sections]
    figures = {
        slot.id: {"data": found["data"], "layout": found["layout"]}
        for slot in slots_of(sections)
        if slot.figure is not None and (found := slot.figure.to_plotly_json())
    }
    for each in figures.values():
        each["layout"].pop("template", None)
    title = compared.title(runs) if len(runs) > 1 else parts[0].headline.title
    return _template().render(
        title=title,
        parts=parts,
        comparison=comparison,
        runs=runs,
        version=__version__,
        style=_file("style.css"),
        script=_file("script.js"),
        plotly=plotly_js(),
        payload=packed({"figures": figures, "candidates": candidates, "sources": lines.document()}),
    )


def _facts(data: RunData, each: CandidateSummary) -> dict[str, Any]:
    """What the page tells of a candidate on click."""
    parents = [data.by_id[key] for key in each.parent_ids if key in data.by_id]
    changed = {name: shown(old) for name, (old, _) in changes(parents[0], each).items()} if parents else {}
    return {
        "run": each.run_id,
        "index": each.index,
        "family": each.family,
        "operator": each.operator,
        "status": each.status,
        "reason": each.reason,
        "us": each.fitness_us,
        "cold": each.cold_us,
        "registers": each.registers,
        "shared": each.shared_bytes,
        "parents": [parent.id for parent in parents],
        "genome": {name: shown(value) for name, value in each.genome.items()},
        "changed": changed,
    }


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evoflash.report.html", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _file(name: str) -> str:
    return (importlib.resources.files("evoflash.report.html") / name).read_text(encoding="utf-8")
