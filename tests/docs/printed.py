"""The commands that README and docs/ print: in code blocks, and as code within sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
PROGRAMS = ("evoflash ", "python ")

_BLOCK = re.compile(r"^(?:    |```)")
_INLINE = re.compile(r"`(evoflash [^`…‹]+)`")
_PLACEHOLDER = re.compile(r"\b[A-Z]{1,}\b(?![=:])|\|")  # as in `evoflash show CANDIDATE`, `runs list|show`


@dataclass(frozen=True)
class Command:
    """A command as printed.

    Attributes:
        words: its words, the program's name first, without a comment.
    """

    page: Path
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """The program's name and its arguments."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page's code blocks, in order; a line that ends with a backslash goes on in the next."""
    fenced, begun = False, 0
    text = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        code = line if fenced else line.removeprefix("    ") if line.startswith("    ") else None
        if code is None:
            text = ""
            continue
        text, begun = (text + " " + code.strip(), begun) if text else (code.strip().removeprefix("$ "), number)
        if text.endswith("\\"):
            text = text[:-1].rstrip()
            continue
        for part in text.split(" && "):
            if part.startswith(PROGRAMS):
                yield Command(page, begun, part)
        text = ""


def inline(page: Path) -> Iterator[Command]:
    """The commands of evoflash within sentences, but for those with placeholders."""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        for text in _INLINE.findall(line):
            if not _PLACEHOLDER.search(text):
                yield Command(page, number, text.replace("\\|", "|"))
