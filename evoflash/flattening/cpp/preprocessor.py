"""The lines of the preprocessor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LINE = re.compile(r"^[ \t]*#[ \t]*(?P<keyword>\w*)(?P<rest>(?:[^\n\\]|\\.)*)\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Directive:
    """A line of the preprocessor, with the lines that continue it; `rest` is what follows the keyword, stripped."""

    start: int
    end: int
    keyword: str
    rest: str


def directives_of(text: str) -> list[Directive]:
    """Every line of the preprocessor in a text without comments and strings."""
    return [
        Directive(each.start(), each.end(), each["keyword"], " ".join(each["rest"].split()))
        for each in LINE.finditer(text)
    ]


def macros_of(directives: Iterable[Directive]) -> dict[str, list[Directive]]:
    """The `#define` lines by the name that they define."""
    found: dict[str, list[Directive]] = {}
    for each in directives:
        name = re.match(r"\w+", each.rest)
        if each.keyword == "define" and name:
            found.setdefault(name[0], []).append(each)
    return found
