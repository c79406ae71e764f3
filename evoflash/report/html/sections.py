"""The sections of a run's part of the page."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import plotly.graph_objects as go

from evoflash.errors import NothingToShowError
from evoflash.report import figures, run_sheets
from evoflash.report.figures.resources import Resource
from evoflash.report.figures.roofline import bounds_of, measured_of
from evoflash.report.gene_importance import genes_of
from evoflash.report.html.headline import Headline, headline
from evoflash.report.run_data import THINNED, RunData, changes, described, shown
from evoflash.report.runs import improvements, shares
from evoflash.report.tables import Sheet, digits, duration, us
from evoflash.store import Outcome, Tally, Written

FIGURES_OF_GENES = 6
RESOURCES: dict[Resource, str] = {
    "registers": "Registers against time",
    "shared": "Shared memory against time",
    "occupancy": "Occupancy against time",
}
OF: dict[Resource, str] = {
    "registers": "",
    "shared": "",
    "occupancy": "Of families with a gene for the threads of a block, and of the winner's.",
}
DIFF_LINES = 700  # of a diff; `evoflash diff` prints all


@dataclass(frozen=True)
class Slot:
    """A figure, or the reason why there is none.

    Attributes:
        words: what to look for in it.
        wide: takes the whole width.
    """

    id: str
    title: str
    figure: go.Figure | None
    words: str = ""
    missing: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Text in a fixed font.

    Attributes:
        rows: (kind, line): "add", "del", "hunk" or "" of a diff.
        language: for highlighting; empty for a diff.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    language: str = ""
    words: str = ""
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page; `folded` tables open on request."""

    id: str
    title: str
    words: str = ""
    slots: tuple[Slot, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    folded: tuple[Sheet, ...] = ()
    codes: tuple[Code, ...] = ()
    finder: bool = False  # a field that opens a candidate by its id


@dataclass(frozen=True)
class Part:
    """A run's part of the page."""

    run: int
    title: str
    device: str
    headline: Headline
    sections: tuple[Section, ...] = field(default=())


def part(data: RunData, sources: Mapping[int, Written]) -> Part:
    """Everything that a page says of one run."""
    made = [
        _result(data),
        _progress(data),
        _lineage(data, sources),
        _genes(data),
        _failures(data),
        _hardware(data),
        _profile(data),
        _samples(data),
        _winner(data, sources),
        _machine(data),
    ]
    sections = tuple(replace(each, id=f"run-{data.run.id}-{each.id}") for each in made if each is not None)
    return Part(data.run.id, data.title, data.device, headline(data), sections)


def drawn(key: str, title: str, words: str, draw: Callable[[], go.Figure], *, wide: bool = False) -> Slot:
    """A figure, or why there is none; the page has its title, so the figure loses its own."""
    try:
        figure = draw()
    except NothingToShowError as error:
        return Slot(key, title, None, missing=str(error), wide=wide)
    traces = figure.to_plotly_json()["data"]
    has_legend = sum("name" in each and each.get("showlegend", True) for each in traces) > 1
    figure.update_layout(title=None, margin={"t": 34 if has_legend else 10})
    return Slot(key, title, figure, words, wide=wide)


def _result(data: RunData) -> Section:
    sheets: list[Sheet] = []
    if data.finals is not None:
        ids = {final.index: data.by_index[final.index].id for final in data.finals.finalists}
        sheets = run_sheets.finals_sheets(data.finals, ids)
    slot = drawn(
        f"{data.run.id}-ratios",
        "The winner against every baseline",
        "Points are medians of paired ratios from interleaved rounds, bars their 95 % intervals. Right of 1 the winner "
        "is faster.",
        lambda: figures.ratios(data),
        wide=True,
    )
    return Section("result", "Result", slots=(slot,) if data.finals is not None else (), sheets=tuple(sheets))


def _progress(data: RunData) -> Section:
    run = data.run.id
    slots = [
        drawn(
            f"{run}-progress-{over}",
            f"Best time so far, over {over}",
            "A step is a candidate that improved the best; dotted lines are baselines.",
            lambda over=over: figures.progress(data, over),
        )
        for over in ("candidates", "seconds")
    ]
    slots.append(drawn(f"{run}-pace", "Pace", "", lambda: figures.pace(data), wide=True))
    steps = [(data.places[each.id], _outcome(each)) for each in data.improvements]
    rows = [
        (each.after, duration(each.seconds), us(each.best_us), each.candidate, each.operator)
        for each in improvements(steps, data.run.created_at)
    ]
    table = Sheet.of("Improvements", ">after candidates|>after|>best, µs|>candidate|operator", rows)
    return Section("progress", "Progress", _thinning(data, len(data.candidates)), tuple(slots), folded=(table,))


def _thinning(data: RunData, count: int) -> str:
    if count <= THINNED:
        return ""
    return (
        f"Of {count:,} candidates the figures draw about {THINNED:,} one by one: all that improved the best time, the "
        "finalists, the winner's ancestry, and every n-th of the others. Staircases, counts and tables are of all."
    )


def _lineage(data: RunData, sources: Mapping[int, Written]) -> Section:
    slot = drawn(
        f"{data.run.id}-lineage",
        "",
        "",
        lambda: figures.lineage(data),
        wide=True,
    )
    words = (
        "A point is a candidate, a line leads to a parent, a colour is the operator that made it. Drag to move, use "
        "the buttons on top to zoom, and click a point for its genome and source."
    )
    if data.candidates and len(sources) < len(data.candidates):
        words += (
            f" The page carries the sources of {len(sources):,} candidates; `evoflash show ID --source` "
            "prints any other."
        )
    return Section("lineage", "Lineage", words, (slot,), finder=bool(data.candidates))


def _genes(data: RunData) -> Section:
    run, found = data.run.id, data.importance
    slots = [
        drawn(
            f"{run}-importance",
            "What decides the time",
            "A bar is how much worse a forest predicts log time of candidates it has not seen, when that gene's values "
            "are shuffled among them.",
            lambda: figures.importance(data),
        ),
        drawn(
            f"{run}-niches",
            "Best time by two genes",
            "A cell is the best time in µs with these values; blank cells were never correct or never tried.",
            lambda: figures.niches(data),
        ),
    ]
    if any(each.registers is not None for each in data.correct):
        slots.append(
            drawn(
                f"{run}-niches-resources",
                "Best time by resources",
                "The niches of the population map-elites: what decides how many blocks run at once.",
                lambda: figures.niches(data, "resources"),
            )
        )
    names = (
        [each.gene for each in found.weights]
        if found is not None
        else list(genes_of(data.children_of(data.main_family or "")))
    )
    slots += [
        drawn(
            f"{run}-gene-{name}",
            f"Time by {name}",
            "Boxes are quartiles of all candidates with that value, diamonds the fastest.",
            lambda name=name: figures.gene(data, name),
        )
        for name in names[: FIGURES_OF_GENES - len(slots)]
    ]
    words = ""
    if found is not None:
        trust = "which is little, so read the bars with care" if found.r2 < 0.5 else "so the bars can be trusted"
        words = (
            f"Of {data.main_family}, the winner's family. The forest explains {max(0.0, found.r2):.0%} of the variance "
            f"of log time of candidates that it has not seen, {trust}."
        )
    return Section("genes", "Genes", words, tuple(slots))


def _failures(data: RunData) -> Section:
    run, tally = data.run.id, _tally(data)
    steps = [(data.places[each.id], _outcome(each)) for each in data.improvements]
    slots = (
        drawn(f"{run}-failures", "How candidates ended", "", lambda: figures.failures(data)),
        drawn(
            f"{run}-failing-genes",
            "What fails with which gene",
            "The values with the largest share of failures; a failure may be another gene's fault.",
            lambda: figures.failing_genes(data),
        ),
    )
    columns = ">candidates|>correct|>improvements|>best, µs"
    sheets = tuple(
        Sheet.of(
            f"By {by}",
            f"{by}|{columns}",
            [
                (each.name, each.candidates, each.correct, each.improvements, us(each.best_us))
                for each in shares(by, tally, steps)
            ],
        )
        for by in ("family", "operator")
    )
    return Section("outcomes", "Families, operators, failures", slots=slots, sheets=sheets)


def _hardware(data: RunData) -> Section:
    run = data.run.id
    words = ""
    if measured_of(data) is not None:
        words = (
            "The solid lines were measured with the winner's profile: the pace of a copy beyond the caches, and of a "
            "matrix product. A kernel whose data stays in the caches may be above the first."
        )
    elif bounds_of(data) is not None:
        words = (
            "Rates of this device were not measured. The dashed lines are upper bounds of its kind: arithmetic with "
            "every unit busy at the highest clock, and loads from the nearest cache. The bandwidth of its memory is "
            "not on record until `evoflash profile` measures it, so kernels that wait for memory stay well below them."
        )
    slots = [
        drawn(
            f"{run}-roofline",
            "Roofline",
            "All candidates compute the same, so they stand above each other; intensity counts only bytes that must be "
            "moved.",
            lambda: figures.roofline(data),
        )
    ]
    if any(each.registers is not None for each in data.correct):
        slots += [
            drawn(f"{run}-{what}", title, OF[what], lambda what=what: figures.resources(data, what))
            for what, title in RESOURCES.items()
        ]
    return Section("hardware", "Hardware", words, tuple(slots))


def _profile(data: RunData) -> Section | None:
    """What a profiler said of the winner; the section appears where one was asked."""
    profile = data.profile
    if profile is None or data.winner is None:
        return None
    head = {"tool": profile.tool, "device": profile.device, "time, µs": us(profile.time_us)}
    floors = [(name, us(value)) for name, value in profile.floors_us.items()]
    counters = Sheet.facts("Counters", {name: digits(value) for name, value in profile.counters.items()})
    sheets = (Sheet.of("In words", "", [(each,) for each in profile.words[1:]]),)
    sheets += (Sheet.facts("Taken", {name: value for name, value in head.items() if value}),)
    sheets += (Sheet.of("At the measured rates it takes", "floor|>µs", floors),)
    return Section("profile", "Profile", "".join(profile.words[:1]), sheets=sheets, folded=(counters,))


def _samples(data: RunData) -> Section | None:
    if data.finals is None:
        return None
    words = (
        "Small points are samples, boxes their quartiles, diamonds medians with 95 % bootstrap intervals. What "
        "takes more than three times as long as the fastest is off the axis."
    )
    slots = [
        drawn(f"{data.run.id}-samples-warm", "Warm: inputs in the cache", "", lambda: figures.samples(data), wide=True)
    ]
    if any(final.cold is not None for final in data.finals.finalists):
        slots.append(
            drawn(
                f"{data.run.id}-samples-cold",
                "Cold: input sets rotated beyond L2",
                "",
                lambda: figures.samples(data, "cold"),
                wide=True,
            )
        )
    return Section("samples", "Samples of the finals", words, tuple(slots))


def _winner(data: RunData, sources: Mapping[int, Written]) -> Section | None:
    winner = data.winner
    if winner is None:
        return None
    facts: dict[str, Any] = {
        "candidate": f"{winner.id} (number {winner.index} of the run)",
        "family": winner.family,
        "operator": winner.operator,
        "registers": winner.registers,
        "shared memory, bytes": winner.shared_bytes,
        "spilled, bytes": winner.spill_bytes,
        "build": duration(winner.build_s),
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    genes = [(name, shown(value)) for name, value in winner.genome.items()]
    sheets = [Sheet.facts("Kernel", facts), Sheet.of("Genome", "gene|value", genes)]
    path = [
        (
            each.id,
            each.run_id if each.run_id != winner.run_id else None,
            each.operator,
            us(each.fitness_us),
            _step(data, each),
        )
        for each in data.path
    ]
    folded = (Sheet.of("Its ancestry, by first parents", ">candidate|>of run|operator|>best, µs|what changed", path),)
    codes, text = [], sources.get(winner.id)
    ancestor = data.path[-1]
    if text is not None and ancestor is not winner and ancestor.id in sources:
        codes.append(_diff(sources[ancestor.id].text, text.text, ancestor.id, winner.id))
    if text is not None:
        rows = tuple(("", line) for line in text.text.splitlines())
        codes.append(Code(f"Source of candidate {winner.id}", rows, text.language or "c++", f"{len(rows):,} lines"))
    words = "" if ancestor is not winner else "The winner has no parents, so there is no ancestor to compare it with."
    return Section("winner", "The winner", words, sheets=tuple(sheets), folded=folded, codes=tuple(codes))


def _step(data: RunData, each: Any) -> str:
    parent = next((data.by_id[key] for key in each.parent_ids if key in data.by_id), None)
    if parent is None:
        return described(each.genome)
    return ", ".join(f"{name} {shown(old)} → {shown(new)}" for name, (old, new) in changes(parent, each).items())


def _diff(old: str, new: str, old_id: int, new_id: int) -> Code:
    """A unified diff by kind of line."""
    title = f"What changed from its first ancestor, candidate {old_id}"
    lines = list(
        difflib.unified_diff(
            old.splitlines(), new.splitlines(), f"candidate {old_id}", f"candidate {new_id}", lineterm=""
        )
    )
    kinds = {"+": "add", "-": "del", "@": "hunk"}
    rows = tuple(
        ("hunk" if number < 2 else kinds.get(line[:1], ""), line) for number, line in enumerate(lines[:DIFF_LINES])
    )
    added = sum(line.startswith("+") for line in lines[2:])
    removed = sum(line.startswith("-") for line in lines[2:])
    words = f"{added} lines more, {removed} fewer" if lines else "the sources are equal"
    if len(lines) > DIFF_LINES:
        words += f"; the first {DIFF_LINES} lines of the diff, `evoflash diff {old_id} {new_id}` prints all"
    return Code(title, rows, words=words, open=True)


def _machine(data: RunData) -> Section:
    run = data.run
    busy = data.latest("throughput")
    conditions = str(data.finals.conditions) if data.finals is not None else None
    state: dict[str, Any] = {
        "search": busy.text if busy is not None else "not on record: it is noted when a search ends",
        "finals": conditions,
    }
    head = {
        "status": f"{run.status}{': ' + run.stop_reason if run.stop_reason else ''}",
        "begun": run_sheets.moment(run.created_at),
        "problem": run.problem_label,
        "strategy": run.strategy,
        "seed": run.seed,
    }
    sheets = (
        Sheet.facts("How busy it was", {name: value for name, value in state.items() if value is not None}),
        Sheet.facts("Run", head),
        Sheet.facts("Facts", run.machine),
    )
    settings = Sheet.facts("Settings", run_sheets.settings(run.plan))
    notes = run_sheets.insights_sheet(run_sheets.latest(data.insights))
    return Section("machine", "Machine and settings", sheets=sheets, folded=(settings, notes))


def _outcome(each: Any) -> Outcome:
    return Outcome(each.id, each.index, each.family, each.operator, each.status, each.fitness_us, each.finished_at)


def _tally(data: RunData) -> list[Tally]:
    """Counts by family, operator and status, of what was read already."""
    groups: dict[tuple[str, str, str], list[float | None]] = {}
    for each in data.candidates:
        groups.setdefault((each.family, each.operator, each.status), []).append(each.fitness_us)
    return [
        Tally(*key, len(times), min((time for time in times if time is not None), default=None))
        for key, times in groups.items()
    ]


def slots_of(sections: Sequence[Section]) -> list[Slot]:
    """All figures of some sections."""
    return [slot for section in sections for slot in section.slots]
