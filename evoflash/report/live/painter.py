"""Paints lines over those that it painted before, without a flicker: nothing is erased before it is written again.

Rich's own `Live` erases a panel before each new one, and loses count of its rows when a narrower window wraps them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

UP, START, ERASE_LINE, ERASE_BELOW = "\x1b[{}A", "\r", "\x1b[K", "\x1b[J"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class Painter:
    """The lower rows of a terminal, which scroll down with what is printed above them.

    Args:
        console: of a terminal that knows escape sequences.
    """

    def __init__(self, console: Console):
        self._console = console
        self._shown: list[int] = []  # columns of each line that is on the screen
        self._last = ""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal now."""
        return self._console.size

    def paint(self, lines: Sequence[Text]) -> None:
        """Shows these lines in place of those before."""
        text = "".join(f"{self._rendered(line)}{ERASE_LINE}\n" for line in lines)
        if text == self._last:
            return
        self._write(f"{HIDE if not self._shown else ''}{self._to_top()}{text}{ERASE_BELOW}")
        self._shown, self._last = [line.cell_len for line in lines], text

    def print(self, text: Text) -> None:
        """Prints a line above the lines that are shown, which come back when they are painted again."""
        self._write(f"{self._to_top()}{ERASE_BELOW}{self._rendered(text)}\n")
        self._shown, self._last = [], ""

    def clear(self) -> None:
        """Takes the lines off the screen."""
        self._write(f"{self._to_top()}{ERASE_BELOW}{SHOW}")
        self._shown, self._last = [], ""

    def _to_top(self) -> str:
        """To the first of the lines, each of which takes several rows where the window has become narrower."""
        width = max(1, self.size[0])
        rows = sum(max(1, -(-columns // width)) for columns in self._shown)
        return START + (UP.format(rows) if rows else "")

    def _rendered(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True, highlight=False)
        return captured.get()

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
