"""The last screen of a search: the winner, how fast it is, what mattered, and what to type next."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from evoflash.core.finals import Final, Finals
from evoflash.report.runs import Best, best
from evoflash.report.tables import duration, times, us
from evoflash.store import Insight, RunStore, RunSummary, location

LABEL = 11  # columns of a label
MATTERED = 3  # lines on what mattered
MOST_WIDTH = 120
KINDS = ("importance", "bound", "failing", "silent")  # of insights, in the order in which they are worth a line


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        title: what was searched, as the person called it.
        insights: of the last generation.
    """

    title: str
    run: RunSummary
    best: Best
    finals: Finals | None
    insights: tuple[Insight, ...]

    @classmethod
    def of(cls, store: RunStore, run_id: int, title: str) -> Summary:
        """The summary of a run with something correct.

        Raises:
            NothingCorrectError: when the run has no correct candidate.
        """
        return cls(title, store.run(run_id), best(store, run_id), store.finals(run_id), tuple(store.insights(run_id)))

    @property
    def winner(self) -> Final | None:
        """The winner's result in the finals."""
        return self.finals.winner if self.finals is not None else None

    @property
    def mattered(self) -> list[str]:
        """A few sentences: what decided in the winner's family, what bounds it, what always failed."""
        last = max((each.generation for each in self.insights), default=0)
        latest = [each for each in self.insights if each.generation == last]
        own = [each for each in latest if each.kind == "bound" or each.data.get("family") == self.best.family]
        found = [next((each.text for each in own if each.kind == kind), "") for kind in KINDS]
        return [text.removeprefix(f"{self.best.family}: ") for text in found if text][:MATTERED]


def summary_lines(found: Summary, width: int) -> list[Text]:
    """The winner of one run: its time, its speed against every baseline, and what mattered."""
    own, run = found.best, found.run
    head = f"{found.title}: {run.candidates} candidates in {duration(run.elapsed_s)}, {run.correct} correct"
    genome = ", ".join(f"{name}={value}" for name, value in own.genome.items())
    lines = [
        Text(head, "bold"),
        *_labelled("winner", f"candidate {own.candidate}, {own.family}", width, "bold green"),
        *_labelled("", genome, width, "dim"),
        *_labelled("time", f"{us(own.p50_us)} us a launch (median), right on {own.cases} cases", width),
    ]
    ratios = found.winner.ratios if found.winner is not None else {}
    ranking = sorted(ratios.items(), key=lambda pair: pair[1].value)
    room = max((len(name) for name, _ in ranking), default=0)
    for number, (name, ratio) in enumerate(ranking):
        shown = times(ratio.value, ratio.low, ratio.high)
        time = f"{us(own.baselines[name])} us" if name in own.baselines else ""
        style = "green" if ratio.low > 1 else "yellow" if ratio.high >= 1 else "red"
        lines += _labelled("" if number else "against", f"{name:<{room}}  {shown:<22}  {time}".rstrip(), width, style)
    if not ranking:
        lines += _labelled("against", "nothing: no finals, so this is the time of the search", width)
    for number, each in enumerate(found.finals.elsewhere if found.finals is not None else ()):
        lines += _labelled("" if number else "elsewhere", _elsewhere(each, own.index), width)
    for number, text in enumerate(found.mattered):
        lines += _labelled("" if number else "mattered", text, width)
    return lines


def _elsewhere(finals: Finals, index: int) -> str:
    """The winner of the run on another device."""
    own = next((each for each in finals.finalists if each.index == index), None)
    if own is None or own.time is None:
        return f"{finals.conditions.device}  does not pass there"
    against = f", {times(own.vs_best.value)} {own.best_baseline}" if own.vs_best is not None else ""
    return f"{finals.conditions.device}  {us(own.time.p50_us)} us{against}"


def next_lines(commands: Sequence[tuple[str, str]], width: int) -> list[Text]:
    """Commands with what they show; a command is never wrapped, so that it can be copied."""
    room = max(len(command) for command, _ in commands)
    return [
        Text.assemble((f"{'' if number else 'next':<{LABEL}}", "dim"), (f"{command:<{room}}", "cyan"), f"  {what}")
        if LABEL + room + 2 + len(what) <= width
        else Text.assemble((f"{'' if number else 'next':<{LABEL}}", "dim"), (command, "cyan"))
        for number, (command, what) in enumerate(commands)
    ]


def next_commands(found: Sequence[Summary], *, db: str | None, has_dashboard: bool) -> list[tuple[str, str]]:
    """What to type next, and what it shows.

    Args:
        db: the database, where the commands would take another one by themselves.
        has_dashboard: whether what `evoflash dashboard` needs is installed.
    """
    more = "" if db is None else f" --db {shlex.quote(location.without_password(db))}"
    own, run = found[0].best.candidate, found[0].run.id
    commands = [
        (f"evoflash show {own} --source{more}", "the winner's source"),
        (f"evoflash lineage {own}{more}", "how it came about"),
        (f"evoflash profile {own}{more}", "what bounds it"),
        (f"evoflash runs show {run}{more}", "the run: failures, operators, finals"),
    ]
    if len(found) > 1:
        commands.append((f"evoflash runs list{more}", "the runs of the other shapes"))
    if has_dashboard:
        commands.append((f"evoflash dashboard{more}", "every candidate in a browser"))
    return commands


def print_summary(found: Sequence[Summary], exports: Sequence[str], commands: Sequence[tuple[str, str]]) -> None:
    """Prints the last screen on standard output.

    Args:
        exports: the folders of the packages.
    """
    console = Console()
    width = min(console.width, MOST_WIDTH) if console.is_terminal else MOST_WIDTH
    lines = [line for each in found for line in (Text(), *summary_lines(each, width))]
    for number, folder in enumerate(exports):
        shown = os.path.relpath(folder)
        shown = shown if len(shown) < len(folder) and not shown.startswith("..") else folder
        lines.append(Text.assemble((f"{'' if number else 'package':<{LABEL}}", "dim"), shown))
    lines.append(Text())
    for line in (*lines, *next_lines(commands, width)):
        console.print(line, soft_wrap=True, highlight=False)


def _labelled(label: str, text: str, width: int, style: str = "") -> list[Text]:
    rows = textwrap.wrap(text, max(20, width - LABEL), drop_whitespace=True, break_on_hyphens=False) or [""]
    return [
        Text.assemble((f"{'' if number else label:<{LABEL}}", "dim"), (row, style)) for number, row in enumerate(rows)
    ]
