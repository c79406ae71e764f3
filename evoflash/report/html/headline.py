"""What a report says first: what won, how much faster, against what, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from evoflash.core.statistics import Ratio
from evoflash.report.run_data import RunData
from evoflash.report.tables import digits, duration, us


@dataclass(frozen=True)
class Headline:
    """The first lines of a part.

    Attributes:
        title: one sentence without a full stop.
        detail: sentences on how that is known.
        tiles: (value, what it is), the four figures to remember.
        doubts: what speaks against it, and what the run lacks.
    """

    title: str
    detail: str
    tiles: tuple[tuple[str, str], ...]
    doubts: tuple[str, ...]


def headline(data: RunData) -> Headline:
    """The headline of a run, whatever state it is in."""
    run, final = data.run, data.winning_final
    tiles = [(f"{len(data.candidates):,}", f"candidates, {len(data.correct):,} correct and distinct")]
    tiles += [(duration(run.elapsed_s) or "", "of search")] if run.elapsed_s is not None else []
    if data.winner is None:
        title, detail = _nothing(data)
    elif final is not None and final.vs_best is not None and final.best_baseline is not None and final.time is not None:
        title = f"{data.winner.family} is {_speed(final.vs_best, final.best_baseline)}"
        base = data.baselines.get(final.best_baseline)
        rounds = data.finals.rounds if data.finals is not None else 0
        declined = (
            f" and declines {len(final.refused)} {'other' if len(final.refused) == 1 else 'others'}"
            if final.refused
            else ""
        )
        interval = f"[{final.vs_best.low:.3g}, {final.vs_best.high:.3g}]"
        against = f" against {microseconds(base)}" if base is not None else ""
        detail = (
            f"{microseconds(final.time.p50_us)}{against}, {final.best_baseline} being the fastest baseline. The "
            f"speed-up is the median of ratios from {rounds} interleaved rounds, with the 95 % interval {interval}. "
            f"The kernel is correct in {final.cases} cases of the finals{declined}."
        )
        tiles.insert(0, (f"{final.vs_best.value:.3g}×", f"the speed of {final.best_baseline} {interval}"))
    else:
        where = "in the finals" if final is not None else "in the search"
        title = f"The best so far is {data.winner.family} in {microseconds(data.winner_us)}"
        detail = f"The time is its median {where}. It was not timed beside the baselines in interleaved rounds."
    if data.winner_us is not None:
        tiles.insert(0, (microseconds(data.winner_us), "median time of a launch, warm"))
    return Headline(title, detail, tuple(tiles), tuple(_doubts(data)))


def microseconds(value: float | None) -> str:
    """A time for people: us below 10,000, then ms."""
    if value is None:
        return "unknown"
    return f"{us(value)} µs" if value < 1e4 else f"{digits(value / 1e3)} ms"


def _speed(ratio: Ratio, baseline: str) -> str:
    if not ratio.is_significant:
        return f"about as fast as {baseline}"
    if ratio.value < 1:
        return f"slower than {baseline}: {ratio.value:.3g} times its speed"
    return f"{ratio.value:.3g} times as fast as {baseline}"


def _nothing(data: RunData) -> tuple[str, str]:
    if not data.candidates:
        return "No candidate has finished", f"The run is {data.run.status}."
    if data.correct:
        return "No finalist passed the finals", "What each failed at is in the table below."
    return "No candidate is correct", f"All {len(data.candidates):,} candidates failed or are duplicates of failures."


def _doubts(data: RunData) -> list[str]:
    run, found = data.run, []
    if run.status != "done":
        found.append(f"The run is {run.status}{f': {run.stop_reason}' if run.stop_reason else ''}.")
    if data.finals is None and data.candidates:
        found.append(
            "The finals have not run, so times are those of the search, and correctness was checked on the searched "
            "shape alone."
        )
    if data.finals is not None and data.finals.conditions.doubt:
        found.append(f"In the finals, {data.finals.conditions.doubt}.")
    last = data.seconds[data.candidates[-1].id] if data.candidates else 0.0
    if run.elapsed_s is not None and last > 1.5 * run.elapsed_s + 120:
        found.append("The run was interrupted and resumed; axes of seconds include the pause.")
    return found
