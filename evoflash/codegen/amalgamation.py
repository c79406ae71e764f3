"""Headers of a template's include folders, put where a rendered kernel says `#include "name"`.

A kernel is searched, stored and exported as one self-contained file, while its parts are C++ headers that an editor can
open. Amalgamation joins the two: each quoted include is replaced by the header's text, the first time it is named, and
by nothing after that, as `#pragma once` would have it. Includes in angle brackets are the compiler's and stay.

A header that is first named inside of an `#if` is not there for what comes after the `#endif`. Where it is named again,
it stands a second time, and a macro sees to it that the compiler reads one of the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from types import MappingProxyType

from evoflash import resources
from evoflash.errors import UsageError
from evoflash.problems import Problem

LINE = re.compile(
    r'^[ \t]*#[ \t]*(?:include[ \t]*"(?P<name>[^"\n]+)"|(?P<condition>if|ifdef|ifndef|elif|else|endif)\b)[^\n]*\n?',
    re.MULTILINE,
)
NOTHING: Mapping[str, str] = MappingProxyType({})
PRAGMA_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once[ \t]*\n\n?", re.MULTILINE)


@dataclass
class _Expansion:
    """A text whose includes are being replaced.

    Attributes:
        generated: headers that are in no folder, by name.
        branch: the preprocessor's branches that are open, outermost first, each by a number of its own.
        seen: the headers so far, each with the branches that it was put into.
        parts: the text so far; a header's beginning and end are marked by its name in a tuple.
    """

    generated: Mapping[str, list[str | re.Match[str]]]
    branch: list[int] = field(default_factory=list)
    branches: int = 0
    seen: dict[str, list[list[int]]] = field(default_factory=dict)
    parts: list[str | tuple[str, bool]] = field(default_factory=list)


class Amalgamation:
    """Replaces quoted includes by the headers' text.

    Args:
        read: the text of a header by the name that it is included by, relative to an include folder; raises where there
            is none. Headers are read once: a template is that of one run.
    """

    def __init__(self, read: Callable[[str], str]):
        self._read = read
        self._headers: dict[str, list[str | re.Match[str]]] = {}
        self._generated: dict[str, list[str | re.Match[str]]] = {}  # by their text, which is that of a problem
        self._replaced: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], list[str]] = {}  # by these lines

    def of(self, text: str, generated: Mapping[str, str] = NOTHING) -> str:
        """The text with every header that it includes, directly or through others, once.

        Args:
            generated: headers that are in no folder, by name.
        """
        first, *rest = self._split(text)
        lines = [each for each in rest if not isinstance(each, str)]
        known = (tuple(each[0] for each in lines), tuple(generated.items()))
        if known not in self._replaced:  # the candidates of a search include the same, which is most of their text
            self._replaced[known] = self._replacements(lines, generated)
        between = [each for each in rest if isinstance(each, str)]
        return "".join(chain([str(first)], *zip(self._replaced[known], between, strict=True)))

    def _replacements(self, lines: Sequence[re.Match[str]], generated: Mapping[str, str]) -> list[str]:
        """What stands for each of the lines that include something or change a condition."""
        expansion = self._begin(generated)
        ends = []
        for line in lines:
            self._expand([line], expansion)
            ends.append(len(expansion.parts))
        joined = []
        for part in expansion.parts:
            if isinstance(part, str):
                joined.append(part)
            elif len(expansion.seen[part[0]]) > 1:
                macro = "EVOFLASH_HAS_" + re.sub(r"\W", "_", part[0]).upper()
                joined.append(f"#ifndef {macro}\n#define {macro}\n" if part[1] else "#endif\n")
            else:
                joined.append("")
        return ["".join(joined[start:end]) for start, end in pairwise([0, *ends])]

    def names(self, text: str, generated: Mapping[str, str] = NOTHING) -> list[str]:
        """The headers that the text includes, directly or through others, in the order that they are first named."""
        expansion = self._begin(generated)
        self._expand(self._split(text), expansion)
        return list(expansion.seen)

    def _begin(self, generated: Mapping[str, str]) -> _Expansion:
        for text in generated.values():
            if text not in self._generated:
                self._generated[text] = self._split(text)
        return _Expansion({name: self._generated[text] for name, text in generated.items()})

    def _expand(self, parts: list[str | re.Match[str]], into: _Expansion) -> None:
        for part in parts:
            if isinstance(part, str):
                into.parts.append(part)
            elif part["condition"]:
                into.parts.append(part[0])
                self._follow(part["condition"], into)
            else:
                name = part["name"]
                before = into.seen.setdefault(name, [])
                if any(into.branch[: len(each)] == each for each in before):
                    continue
                before.append(list(into.branch))
                into.parts.append((name, True))
                self._expand(into.generated.get(name) or self._header(name), into)
                into.parts.append((name, False))

    @staticmethod
    def _follow(condition: str, into: _Expansion) -> None:
        if not condition.startswith("if") and into.branch:
            into.branch.pop()
        if condition != "endif":
            into.branches += 1
            into.branch.append(into.branches)

    def _header(self, name: str) -> list[str | re.Match[str]]:
        if name not in self._headers:
            text = self._read(name)
            self._headers[name] = self._split(text if text.endswith("\n") else text + "\n")
        return self._headers[name]

    @staticmethod
    def _split(text: str) -> list[str | re.Match[str]]:
        """Lines that include something or begin, change or end a condition, and what stands between them."""
        text = PRAGMA_ONCE.sub("", text)
        parts: list[str | re.Match[str]] = []
        place = 0
        for line in LINE.finditer(text):
            parts += [text[place : line.start()], line]
            place = line.end()
        return [*parts, text[place:]]


def self_contained(path: Path, problem: Problem) -> str:
    """The text of a source file with its headers in their places: the problem's own, those beside it, those that ship.

    Raises:
        UsageError: for a file or a header that cannot be read.
    """

    def read(name: str) -> str:
        for folder in (path.parent, resources.shipped() / "templates" / "include"):
            if (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8")
        raise UsageError(f'{path}: #include "{name}": neither its folder nor evoflash has this header; fix the name')

    try:
        return Amalgamation(read).of(path.read_text(encoding="utf-8"), dict([problem.header]))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} ({error}); name a source file") from None
