"""The panel of a running search: a list of lines, of as many rows at every moment.

Every block has a fixed number of rows, so that nothing jumps when a family, an operator or a failure shows up. Where a
terminal has too few rows, whole blocks are left out, the least important first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from evoflash.core.status import Status
from evoflash.progress import Work
from evoflash.report.live.counts import Counts, Found, ShapeCounts, Share
from evoflash.report.live.sparkline import ASCII_BARS, BARS, resampled, sparkline
from evoflash.report.live.words import against, clock, us

LABEL = 11  # columns of a label
MOST_WIDTH = 160  # beyond which lines would be too long to read
NARROW = 66  # columns from which on families and operators stand side by side
WIDE = 120  # columns from which on blocks stand side by side
BASELINES = 4  # rows
SHAPES = 5
SHARES = 6  # rows of families, operators and failures
MOST_TABLE = 60  # columns of a table
GAP = "   "


@dataclass(frozen=True)
class Glyphs:
    """The characters beyond ASCII, or what stands for them."""

    bars: str
    done: str
    left: str
    dot: str
    more: str

    @classmethod
    def of(cls, encoding: str) -> Glyphs:
        """Those that an encoding has."""
        is_unicode = encoding.lower().replace("-", "").startswith("utf")
        return cls(BARS, "━", "─", "·", "…") if is_unicode else cls(ASCII_BARS, "=", "-", "-", "~")


def panel(counts: Counts, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    """The lines of the panel, each of at most `width` columns.

    Args:
        height: rows of the terminal, of which one stays free for the cursor.
    """
    view = _View(counts, min(width, MOST_WIDTH), glyphs)
    blocks = view.blocks()
    while len(blocks) > 1 and sum(map(len, blocks)) > height - 1:
        least = max(range(len(blocks)), key=lambda number: view.ranks[number])
        del blocks[least], view.ranks[least]
    lines = [line for block in blocks for line in block][: max(1, height - 1)]
    for line in lines:
        line.truncate(width)
        line.rstrip()  # terminals forget blanks at the end where they wrap a line again, and its rows are counted
    return lines


class _View:
    """One look at the counts."""

    def __init__(self, counts: Counts, width: int, glyphs: Glyphs):
        self.counts = counts
        self.work = counts.work
        self.width = width
        self.glyphs = glyphs
        self.ranks = [0, 1, 2, 3, 4, 5]  # of the blocks: the highest is left out first

    def blocks(self) -> list[list[Text]]:
        """Head; bests; what is going on; on which devices, if there are several; failures; families and operators."""
        going_on, devices = self._going_on(), self._devices()
        return [self._head(), self._bests(), going_on, devices, self._failures(), self._shares()]

    # Head.

    def _head(self) -> list[Text]:
        counts, work = self.counts, self.work
        times = f"{clock(work.elapsed_s)} of {clock(60 * counts.minutes)}"
        preparing = f"timing the baselines, {clock(counts.elapsed_s)}"
        right = {"baselines": preparing, "finals": "finals"}.get(work.phase, times)
        title = self._cut(counts.title, self.width - len(right) - 2)
        space = self.width - cell_len(title) - len(right)
        head = Text.assemble((title, "bold"), " " * space, (right, "dim"))
        return [head, self._progress(), Text()]

    def _progress(self) -> Text:
        counts, work = self.counts, self.work
        pace = counts.candidates_a_minute(work) if work.phase == "search" else None
        count = f"{counts.results:>{len(str(counts.budget))}} of {counts.budget}  "
        rest = f"{pace:6.0f} a minute" if pace else " " * 15
        if work.phase == "search":
            rest += f"{clock(counts.left_s(work)):>9} left"
        room = max(0, self.width - LABEL - len(count) - len(rest))
        done = min(room, round(room * counts.results / max(1, counts.budget)))
        bar = (self.glyphs.done * done, "cyan"), (self.glyphs.left * (room - done), "dim")
        return self._labelled("candidates", count, *bar, rest)

    # Bests.

    def _bests(self) -> list[Text]:
        shapes = self.counts.shapes
        if len(shapes) > 1:
            return [*self._several(shapes), Text()]
        own = next(iter(shapes.values()), ShapeCounts())
        lines = [self._best(own), self._curve(own), *self._baselines(own)]
        return [*lines, Text()]

    def _best(self, own: ShapeCounts) -> Text:
        if own.best is None:
            return self._labelled("best", ("nothing correct yet", "dim"))
        return self._labelled("best", (us(own.best.time_us), "bold green"), GAP, self._origin(own.best, own.results))

    def _origin(self, best: Found, results: int) -> str:
        ago = results - best.after
        when = "just now" if not ago else f"{ago} candidates ago"
        return f"#{best.index} {best.family} by {best.operator}, {when}"

    def _curve(self, own: ShapeCounts) -> Text:
        values = resampled(own.steps, own.results, max(1, self.width - LABEL - 24))
        ends = f"{us(own.steps[0][1])} first" if own.steps else ""
        return self._labelled("curve", (sparkline(values, self.glyphs.bars), "green"), GAP, (ends, "dim"))

    def _baselines(self, own: ShapeCounts) -> list[Text]:
        """The fastest baselines, of which each has a row; the slower ones share the last."""
        names = list(own.baselines.items())
        hidden = names[BASELINES - 1 :] if len(names) > BASELINES else []
        best_us = own.best.time_us if own.best else None
        rows = [self._baseline(name, time_us, best_us) for name, time_us in names[: len(names) - len(hidden)]]
        if hidden:
            name = self._sized(f"{len(hidden)} slower ones", self._name_width)
            rows.append(Text(f"{name}{us(hidden[0][1]):>12} or more"))
        if not rows:
            rows = [Text("being timed", "dim")]
        rows += [Text()] * (BASELINES - len(rows))
        return [self._labelled("baselines" if not number else "", row) for number, row in enumerate(rows)]

    def _baseline(self, name: str, time_us: float, best_us: float | None) -> Text:
        ratio = against(time_us, best_us)
        style = "green" if best_us is not None and best_us < time_us else "yellow"
        return Text.assemble(f"{self._sized(name, self._name_width)}{us(time_us):>12}", (f"{ratio:>10}", style))

    @property
    def _name_width(self) -> int:
        """Columns of a baseline's name."""
        return min(32, max(8, self.width - LABEL - 22))

    def _several(self, shapes: Mapping[str, ShapeCounts]) -> list[Text]:
        """A row for each shape: its best, against its fastest baseline, and its curve."""
        names = list(shapes)[:SHAPES]
        room = max(12, min(max(map(cell_len, names)) + 1, self.width - 56))
        lines = [self._shape(name, shapes[name], room) for name in names]
        if len(shapes) > SHAPES:
            lines.append(Text(f"and {len(shapes) - SHAPES} more shapes", "dim"))
        return lines

    def _shape(self, name: str, own: ShapeCounts, room: int) -> Text:
        rival, time_us = next(iter(own.baselines.items()), ("", 0.0))
        best_us = own.best.time_us if own.best else None
        ratio = against(time_us, best_us) if rival else ""
        style = "green" if best_us is not None and best_us < time_us else "yellow"
        best = us(best_us) if best_us is not None else "nothing yet"
        head = Text.assemble(self._sized(name, room), (f"{best:>12}", "bold green"), (f" {ratio:>7}", style), " ")
        rest = self.width - head.cell_len
        curve = min(40, max(0, rest - 20))
        head.append(self._sized(rival, min(24, rest - curve)))
        head.append(sparkline(resampled(own.steps, own.results, curve), self.glyphs.bars), "green")
        return head

    # What is going on.

    def _going_on(self) -> list[Text]:
        return [
            self._labelled("building", self._candidates(self.work, "building")),
            self._labelled("timing", self._candidates(self.work, "examining")),
        ]

    def _candidates(self, work: Work, place: str) -> str:
        there = work.building if place == "building" else work.examining
        waiting = f"{work.waiting} waiting" if place == "building" and work.waiting else ""
        room = self.width - LABEL - (len(waiting) + 2 if waiting else 0)
        shown = ""
        for number, each in enumerate(there):
            word = f"{'  ' if number else ''}#{each.index} {each.family}"
            rest = f"  +{len(there) - number}"
            if cell_len(shown) + cell_len(word) > room - (len(rest) if number + 1 < len(there) else 0):
                shown += rest
                break
            shown += word
        return f"{shown or '-'}{f'  {waiting}' if waiting else ''}"

    def _devices(self) -> list[Text]:
        lines = self.counts.devices.lines(self.work.session_s)
        return [self._labelled("devices" if not number else "", line) for number, line in enumerate(lines)]

    # Families, operators, failures.

    def _failures(self) -> list[Text]:
        """The kinds of failures in a row; on a wide terminal they have a table instead."""
        if self.width >= WIDE:
            return [Text()]
        kinds = ", ".join(f"{count} {_spoken(status)}" for status, count in self.counts.failures())
        duplicates = self.counts.statuses[Status.DUPLICATE]
        rest = f"{GAP}{duplicates} duplicates" if duplicates else ""
        fits = LABEL + len(kinds) + len(rest) <= self.width
        line = self._labelled("failures", (kinds or "none", "red" if kinds else "dim"), (rest if fits else "", "dim"))
        return [line, Text()]

    def _shares(self) -> list[Text]:
        """Families, beside operators where there is room, and on a wide terminal beside failures."""
        others = [self._operators()] if self.width >= NARROW else []
        others += [self._kinds()] if self.width >= WIDE else []
        families = self._families(self.width - sum(each[0].cell_len + len(GAP) for each in others))
        return [Text(GAP).join(row) for row in zip(families, *others, strict=True)]

    def _families(self, width: int) -> list[Text]:
        """The best family stands out."""
        name = max(1, min(width, MOST_TABLE) - 24)
        shares = _shown(self.counts.families)
        best_us = min((share.best_us for _, share in shares if share.best_us is not None), default=None)
        is_one = len(self.counts.shapes) == 1  # times of several shapes do not compare
        lines = [
            Text(f"{self._sized('family', name)}{'tried':>6}{'right':>7}{'best us' if is_one else 'bests':>11}", "dim")
        ]
        for word, share in shares:
            time = f"{share.best_us:.2f}" if share.best_us is not None else "-"
            time = time if is_one else str(share.bests)
            style = "green" if is_one and best_us is not None and share.best_us == best_us else ""
            lines.append(Text(f"{self._sized(word, name)}{share.tried:>6}{_right(share):>7}{time:>11}", style))
        return _filled(lines, name + 24)

    def _operators(self) -> list[Text]:
        name = 14 if self.width < WIDE else 24
        lines = [Text(f"{self._sized('operator', name)}{'tried':>6}{'right':>7}{'bests':>7}", "dim")]
        for word, share in _shown(self.counts.operators):
            lines.append(Text(f"{self._sized(word, name)}{share.tried:>6}{_right(share):>7}{share.bests:>7}"))
        return _filled(lines, name + 20)

    def _kinds(self) -> list[Text]:
        """Failures by kind, and duplicates, which are none."""
        name = 18
        kinds = [(_spoken(status), count, "red") for status, count in self.counts.failures()]
        if duplicates := self.counts.statuses[Status.DUPLICATE]:
            kinds = [*kinds[: SHARES - 1], ("duplicate", duplicates, "dim")]
        lines = [Text(f"{self._sized('failure', name)}{'count':>6}", "dim")]
        lines += [Text(f"{self._sized(word, name)}{count:>6}", style) for word, count, style in kinds[:SHARES]]
        if not kinds:
            lines.append(Text(self._sized("none", name + 6), "dim"))
        return _filled(lines, name + 6)

    # Words.

    def _labelled(self, label: str, *parts: str | tuple[str, str] | Text) -> Text:
        line = Text.assemble((f"{label:<{LABEL}}", "dim"), *parts)
        line.truncate(self.width, overflow="ellipsis" if self.glyphs.more == "…" else "crop")
        return line

    def _cut(self, text: str, width: int) -> str:
        """At most this many columns; the end goes."""
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, max(0, width - 1)) + self.glyphs.more if width > 0 else ""

    def _sized(self, text: str, width: int) -> str:
        """Exactly this many columns."""
        return set_cell_size(self._cut(text, max(0, width - 1)), max(0, width))


def _spoken(status: Status) -> str:
    return str(status).replace("_", " ")


def _right(share: Share) -> str:
    return f"{share.right / share.tried:.0%}" if share.tried else ""


def _filled(lines: list[Text], width: int) -> list[Text]:
    """A table with all its rows, so that its height never changes."""
    return lines + [Text(" " * width)] * (SHARES + 1 - len(lines))


def _shown(shares: Mapping[str, Share]) -> list[tuple[str, Share]]:
    """As many as there are rows: the fastest, in the order in which they came; the others share a row."""
    found = list(shares.items())
    if len(found) <= SHARES:
        return found
    times = sorted(share.best_us if share.best_us is not None else math.inf for _, share in found)
    limit = times[SHARES - 1]
    kept = [each for each in found if each[1].best_us is not None and each[1].best_us < limit]
    others = [each for each in found if each not in kept]
    return [*kept, (f"{len(others)} others", _sum(others))]


def _sum(shares: Sequence[tuple[str, Share]]) -> Share:
    total = Share()
    for _, each in shares:
        total.tried += each.tried
        total.right += each.right
        total.bests += each.bests
        times = [time for time in (total.best_us, each.best_us) if time is not None]
        total.best_us = min(times, default=None)
    return total
