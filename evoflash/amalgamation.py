"""Headers of a template's include folders, put where a rendered kernel says `#include "name"`.

A kernel is searched, stored and exported as one self-contained file, while its parts are C++ headers that an editor can
open. Amalgamation joins the two: each quoted include is replaced by the header's text, the first time it is named, and
by nothing after that, as `#pragma once` would have it. Includes in angle brackets are the compiler's and stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"[^\n]*\n?', re.MULTILINE)
PRAGMA_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once[ \t]*\n\n?", re.MULTILINE)


class Amalgamation:
    """Replaces quoted includes by the headers' text.

    Args:
        read: the text of a header by the name that it is included by, relative to an include folder; raises where there
            is none. Headers are read once: a template is that of one run.
    """

    def __init__(self, read: Callable[[str], str]):
        self._read = read
        self._parts: dict[str, list[str]] = {}

    def of(self, text: str) -> str:
        """The text with every header that it includes, directly or through others, once."""
        seen: set[str] = set()
        return "".join(self._expanded(self._split(text), seen))

    def _expanded(self, parts: list[str], seen: set[str]) -> list[str]:
        # `parts` alternates: plain text, the name of a header, plain text, ...
        expanded: list[str] = []
        for number, part in enumerate(parts):
            if number % 2 == 0:
                expanded.append(part)
            elif part not in seen:
                seen.add(part)
                expanded += self._expanded(self._header(part), seen)
        return expanded

    def _header(self, name: str) -> list[str]:
        if name not in self._parts:
            text = PRAGMA_ONCE.sub("", self._read(name))
            self._parts[name] = self._split(text if text.endswith("\n") else text + "\n")
        return self._parts[name]

    @staticmethod
    def _split(text: str) -> list[str]:
        return INCLUDE.split(text)
