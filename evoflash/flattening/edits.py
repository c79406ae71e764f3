"""Changes to a text, made all at once."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import NamedTuple

from evoflash.flattening.cpp.syntax import Syntax


class Edit(NamedTuple):
    """The text between two places is replaced."""

    start: int
    end: int
    text: str = ""


def applied(syntax: Syntax, changes: Iterable[Edit | tuple[Edit, ...]]) -> Syntax:
    """The text after these changes; one of several edits is made whole, or not at all where it overlaps another.

    Where that is the same text, it is the same object, so that nothing is parsed twice.
    """
    accepted: list[Edit] = []
    for change in changes:
        group = (change,) if isinstance(change, Edit) else change
        places = [bisect.bisect_left(accepted, edit) for edit in group]
        if not any(_overlaps(edit, accepted[max(at - 1, 0) : at + 1]) for edit, at in zip(group, places, strict=True)):
            for edit in group:
                bisect.insort(accepted, edit)
    parts, place = [], 0
    for edit in accepted:
        parts += [syntax.text[place : edit.start], edit.text]
        place = edit.end
    text = "".join(parts) + syntax.text[place:]
    return Syntax(text) if text != syntax.text else syntax


def _overlaps(edit: Edit, others: Iterable[Edit]) -> bool:
    return any(edit.start < other.end and other.start < edit.end for other in others)


def line_start(text: str, place: int) -> int:
    """Where the line of a place begins."""
    return text.rfind("\n", 0, place) + 1


def begins_line(text: str, place: int) -> bool:
    """Whether only blanks stand before a place in its line."""
    return not text[line_start(text, place) : place].strip()


def removal(syntax: Syntax, start: int, end: int) -> Edit:
    """Removes what stands between two places, with the comments that lead to it or follow it in its last line.

    Lines that it had for itself go as a whole.
    """
    text = syntax.text
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    rest = text[end:line_end].strip()
    if rest.startswith("//") or (rest.startswith("/*") and rest.endswith("*/") and rest.count("*/") == 1):
        end, rest = line_end, ""
    if rest or not begins_line(text, start):
        return Edit(start, end)
    return Edit(comments_before(syntax, start), min(line_end + 1, len(text)))


def comments_before(syntax: Syntax, start: int) -> int:
    """The beginning of the lines of comments that stand right above a place, else that of its own line."""
    text, first = syntax.text, line_start(syntax.text, start)
    for begin, end in reversed(syntax.comments):
        if begin >= first:
            continue
        between = text[end:first]
        if between.strip() or between.count("\n") != 1 or not begins_line(text, begin):
            break
        first = line_start(text, begin)
    return first


def balanced(syntax: Syntax, start: int, end: int) -> bool:
    """Whether the preprocessor's conditions between two places are whole."""
    depth = 0
    for each in syntax.directives:
        if not start <= each.start < end:
            continue
        if each.keyword in ("if", "ifdef", "ifndef"):
            depth += 1
        elif each.keyword == "endif":
            depth -= 1
        elif each.keyword in ("else", "elif") and depth == 0:
            return False
        if depth < 0:
            return False
    return depth == 0
