"""What stands on a terminal: the painter, the panel's thread, and which progress suits."""

import io
import re
import time

import pytest
from rich.console import Console
from rich.text import Text

from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Stage, Status
from evoflash.progress import SilentProgress
from evoflash.report.live import PlainProgress, TerminalProgress, progress_of
from evoflash.report.live.painter import Painter
from tests.report.live.search import candidate, counts
from tests.store.runs import ok


class Screen:
    """The rows of a terminal of so many columns after these bytes: as much of one as the painter uses."""

    def __init__(self, width: int):
        self.width = width
        self.rows = [""]
        self.at = (0, 0)

    def feed(self, text: str) -> None:
        for escape, character in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z])|(.)", text, re.DOTALL):
            row, column = self.at
            if escape.endswith("A"):
                self.at = (max(0, row - int(escape[2:-1])), column)
            elif escape.endswith("K"):
                self.rows[row] = self.rows[row][:column]
            elif escape.endswith("J"):
                self.rows[row:] = [self.rows[row][:column]]
            elif character == "\r":
                self.at = (row, 0)
            elif character == "\n":
                self._to(row + 1, 0)
            elif character:
                if column == self.width:
                    row, column = row + 1, 0
                    self._to(row, 0)
                line = self.rows[row].ljust(column)
                self.rows[row] = line[:column] + character + line[column + 1 :]
                self.at = (row, column + 1)

    def _to(self, row: int, column: int) -> None:
        self.rows += [""] * (row + 1 - len(self.rows))
        self.at = (row, column)

    def narrow(self, width: int) -> None:
        """Wraps the rows that no longer fit, as terminals do; the cursor stands below them."""
        wrapped = [row[at : at + width] for row in self.rows for at in range(0, max(1, len(row)), width)]
        self.rows, self.width = wrapped, width
        self.at = (len(wrapped) - 1, 0)

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


def terminal(width: int = 40, **more) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=24, **more)


def written(console: Console) -> str:
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


def test_lines_are_painted_over_and_notes_stay_above():
    console, screen = terminal(), Screen(40)
    painter = Painter(console)
    painter.paint([Text("one"), Text("a longer line"), Text("three")])
    painter.paint([Text("1"), Text("2")])
    screen.feed(written(console))
    assert screen.shown == ["1", "2"]
    painter.print(Text("a note"))
    painter.paint([Text("3"), Text("4")])
    screen.feed(written(console))
    assert screen.shown == ["a note", "3", "4"]
    painter.clear()
    screen.feed(written(console))
    assert screen.shown == ["a note"]


def test_nothing_is_erased_before_it_is_written_again():
    console = terminal()
    painter = Painter(console)
    painter.paint([Text("one"), Text("two")])
    written(console)
    painter.paint([Text("one"), Text("2")])
    assert written(console) == "\r\x1b[2Aone\x1b[K\n2\x1b[K\n\x1b[J"
    painter.paint([Text("one"), Text("2")])
    assert written(console) == ""


def test_a_narrower_window_leaves_nothing_behind():
    console, screen = terminal(40), Screen(40)
    painter = Painter(console)
    painter.paint([Text("x" * 39), Text("y" * 30), Text("z")])
    screen.feed(written(console))
    screen.narrow(20)
    console.width = 20
    painter.paint([Text("one"), Text("two")])
    screen.feed(written(console))
    assert screen.shown == ["one", "two"]


def test_the_panel_is_painted_by_itself_and_gone_at_the_end():
    console, screen = terminal(80), Screen(80)
    made = counts("mission", results=20)
    with TerminalProgress(made, console) as progress:
        progress.finished("mission", candidate(20), ok(1.5), True)
        progress.note("something to keep")
        end = time.monotonic() + 20
        while "1.50 us" not in console.file.getvalue():
            assert time.monotonic() < end
            time.sleep(0.05)
    text = written(console)
    assert text.count("\x1b[?25l") >= 1
    assert text.endswith("\x1b[?25h")  # the cursor is back
    screen.feed(text)
    assert screen.shown == ["   0.0 s  something to keep"]


def test_an_interruption_ends_the_panel():
    console = terminal(80)

    def interrupted():
        with TerminalProgress(counts("mission"), console) as progress:
            progress.paint()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written(console).endswith("\x1b[?25h")


def test_no_color_has_no_colours():
    coloured, plain = terminal(80, color_system="truecolor"), terminal(80, color_system="truecolor", no_color=True)
    for console in (coloured, plain):
        TerminalProgress(counts("mission", results=20), console).paint()
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", written(coloured))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", written(plain))


@pytest.mark.parametrize(
    ("variables", "is_panel"),
    [({"TERM": "xterm-256color"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, True)],
)
def test_a_panel_needs_a_terminal_that_moves_its_cursor(monkeypatch, variables, is_panel):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", Tty())
    assert isinstance(progress_of(counts("mission")), TerminalProgress) is is_panel
    assert isinstance(progress_of(counts("mission"), plain=True), PlainProgress)


def test_a_pipe_gets_lines(monkeypatch):
    monkeypatch.setattr("sys.stderr", pipe := io.StringIO())
    with progress_of(counts("mission", results=6)) as progress:
        assert isinstance(progress, PlainProgress)
        progress.baselines("mission", {"slow": 2000.0, "fast": 3.0})
        progress.update(1, 2)
        progress.update(1, 2)  # too soon for another line
        progress.finished("mission", candidate(6), Evaluation(status=Status.WRONG, stage=Stage.CORRECTNESS), False)
        progress.finished("mission", candidate(7), ok(1.5), True)
    assert [line.split(" s  ")[1] for line in pipe.getvalue().splitlines()] == [
        "mission: baselines: fast 3.00 us, slow 2.00 ms",
        "6/400 candidates, 2 per minute; 9 building, 1 timing, 12 waiting; best 14.40 us, 0.21x fast; failures: none",
        "#7 cuda_flash_wgmma by step: best 1.50 us, 2.00x fast",
    ]


def test_quiet_prints_nothing(capsys):
    with SilentProgress() as progress:
        progress.baselines("mission", {"slow": 2.0})
        progress.update(1, 2)
        progress.finished("mission", candidate(7), ok(1.5), True)
        progress.note("something")
    assert capsys.readouterr() == ("", "")


class Tty(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True
