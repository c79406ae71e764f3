"""The part of a page that compares runs, before the runs themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evoflash.core.statistics import BOOTSTRAPS, Ratio
from evoflash.report import figures
from evoflash.report.html.headline import microseconds
from evoflash.report.html.section import Section, drawn
from evoflash.report.run_data import RunData
from evoflash.report.tables import Sheet, duration, times

ABSENT = "—"


def comparison(runs: Sequence[RunData]) -> Section:
    """Best so far in one figure, results side by side, ratios where they mean something, and what differs."""
    slots = tuple(
        drawn(
            f"comparison-{over}",
            f"Best so far, over {over}",
            "Dotted lines are each run's fastest baseline." if over == "candidates" else "",
            lambda over=over: figures.comparison(runs, over),
        )
        for over in ("candidates", "seconds")
    )
    sheets = [_results(runs), _ratios(runs), *_differences(runs)]
    return Section("comparison", "Comparison", _words(runs), slots, sheets=tuple(each for each in sheets if each.rows))


def title(runs: Sequence[RunData]) -> str:
    """One sentence without a full stop."""
    first, second = runs[:2]
    ratio = between(first, second) if len(runs) == 2 else None
    if ratio is None:
        numbers = [str(each.run.id) for each in runs]
        return f"Runs {', '.join(numbers[:-1])} and {numbers[-1]} side by side"
    names = [_name(each, runs) for each in runs]
    if not ratio.is_significant:
        return f"The winners of {names[0]} and {names[1]} are about equally fast"
    return f"{names[1].capitalize()}: its winner has {ratio.value:.3g} times the speed of that of {names[0]}"


def between(first: RunData, second: RunData) -> Ratio | None:
    """How many times as fast the second's winner is, with a 95 % bootstrap interval; None where that means nothing.

    The samples are of separate sessions, so they are resampled separately.
    """
    finals = [each.winning_final for each in (first, second)]
    same = first.run.problem_label == second.run.problem_label
    samples = [final.time.samples for final in finals if final is not None and final.time is not None]
    if not same or len(samples) < 2 or not all(samples):
        return None
    rng = np.random.default_rng(0)
    medians = [np.median(rng.choice(np.asarray(each), size=(BOOTSTRAPS, len(each))), axis=1) for each in samples]
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    return Ratio(value=float(np.median(samples[0]) / np.median(samples[1])), low=float(low), high=float(high))


def _words(runs: Sequence[RunData]) -> str:
    if len({each.run.problem_label for each in runs}) > 1:
        return "The runs search different problems, so their times do not compare; speed-ups over their baselines do."
    return (
        "Each run was timed in a session of its own. The intervals hold within the sessions; a machine may drift "
        "between them."
    )


def _name(data: RunData, runs: Sequence[RunData]) -> str:
    devices = {each.device for each in runs}
    return f"run {data.run.id}" + (f" on {data.device}" if len(devices) > 1 else "")


def _results(runs: Sequence[RunData]) -> Sheet:
    rows: dict[str, list[object]] = {}
    for data in runs:
        final = data.winning_final
        facts = {
            "device": data.device,
            "problem": data.run.problem_label,
            "status": data.run.status,
            "strategy": data.run.strategy,
            "candidates": f"{len(data.candidates):,}, {len(data.correct):,} correct",
            "search": duration(data.run.elapsed_s),
            "winner": f"candidate {data.winner.id}, {data.winner.family}" if data.winner is not None else None,
            "time": microseconds(data.winner_us) if data.winner_us is not None else None,
            "fastest baseline": data.best_baseline,
            "its time": microseconds(data.baselines[data.best_baseline]) if data.best_baseline else None,
            "speed-up": times(final.vs_best.value, final.vs_best.low, final.vs_best.high)
            if final is not None and final.vs_best is not None
            else None,
        }
        for name, value in facts.items():
            rows.setdefault(name, []).append(ABSENT if value is None else value)
    columns = "|".join(["", *(f"run {each.run.id}" for each in runs)])
    return Sheet.of("Side by side", columns, [(name, *values) for name, values in rows.items()])


def _ratios(runs: Sequence[RunData]) -> Sheet:
    """Every later run against the first."""
    rows = []
    for data in runs[1:]:
        ratio = between(runs[0], data)
        if ratio is not None:
            said = times(ratio.value, ratio.low, ratio.high)
            rows.append((f"winner of run {data.run.id}", f"winner of run {runs[0].run.id}", said))
    return Sheet.of("Winners against each other", "|against|>times as fast", rows)


def _differences(runs: Sequence[RunData]) -> list[Sheet]:
    columns = "|".join(["", *(f"run {each.run.id}" for each in runs)])
    kinds = {
        "What differs in the plans": [{**each.run.plan, "shapes": each.run.problem_label} for each in runs],
        "What differs in the machines": [each.run.machine for each in runs],
        "What differs in the winners' genomes": [each.winner.genome if each.winner else {} for each in runs],
    }
    return [Sheet.of(name, columns, _differing(facts)) for name, facts in kinds.items()]


def _differing(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    flat = [{row[0]: row[1] for row in Sheet.facts("", each).rows} for each in facts]
    names = dict.fromkeys(name for each in flat for name in each)
    rows = [(name, *(each.get(name, ABSENT) for each in flat)) for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]
