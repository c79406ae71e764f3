"""The preprocessor's conditions, where they are simple: include guards, literals, regions that say nothing or twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from evoflash.flattening.cpp.preprocessor import Directive
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.edits import Edit, comments_before

GUARD = re.compile(r"\w+_(?:H|HH|HPP|CUH|INCLUDED)_*")


@dataclass(eq=False)
class Region:
    """From an #if to its #endif."""

    opening: Directive
    outer: Region | None
    others: list[Directive] = field(default_factory=list)
    closing: Directive | None = None

    @property
    def condition(self) -> tuple[str, str]:
        """Equal for regions that are compiled together."""
        return self.opening.keyword, re.sub(r"\s+", " ", self.opening.rest).strip()


def edits(syntax: Syntax) -> Iterator[Edit | tuple[Edit, ...]]:
    """The changes that simple conditions allow."""
    regions = list(_regions(syntax))
    if any(region.closing is None for region in regions):
        return
    named = Counter(word for each in syntax.directives for word in re.findall(r"\w+", each.rest))
    changed = {*syntax.macros, *(_name(each) for each in syntax.directives if each.keyword == "undef")}
    defined = _defined(syntax, regions)
    for region in regions:
        assert region.closing is not None
        start, end, name = region.opening.start, region.closing.end, _name(region.opening)
        opened = (Edit(start, region.opening.end), Edit(region.closing.start, end))
        removed = Edit(comments_before(syntax, start), end)
        if region.others:
            continue
        if _is_guard(syntax, region) and named[name] == 2:
            define = syntax.macros[name][0]
            yield (*opened, Edit(define.start, define.end))
        elif region.opening.keyword in ("ifndef", "ifdef") and defined.get(name, start) < start:
            yield removed if region.opening.keyword == "ifndef" else opened
        elif region.condition in (("if", "0"), ("if", "1")):
            yield removed if region.opening.rest == "0" else opened
        elif not syntax.text[region.opening.end : region.closing.start].strip():
            yield removed
        elif _says_it_again(region, changed):
            yield opened
    yield from _joined(syntax, regions, changed)


def _defined(syntax: Syntax, regions: list[Region]) -> dict[str, int]:
    """The macros that are defined whatever is compiled, with the place from which on."""
    found: dict[str, int] = {}
    for name, lines in syntax.macros.items():
        for line in lines:
            around = [each for each in regions if each.closing and each.opening.start < line.start < each.closing.start]
            if all(_is_guard(syntax, each) for each in around):
                found.setdefault(name, line.start)
    for each in syntax.directives:
        if each.keyword == "undef":
            found.pop(_name(each), None)
    return found


def _joined(syntax: Syntax, regions: list[Region], changed: set[str]) -> Iterator[tuple[Edit, ...]]:
    """Neighbours with one condition become one; comments between them come inside."""
    last: dict[Region | None, Region] = {}
    for after in regions:
        region = last.get(after.outer)
        last[after.outer] = after
        if region is None or region.others or after.others or after.condition != region.condition:
            continue
        assert region.closing is not None
        between = syntax.plain[region.closing.end : after.opening.start]
        if not between.strip() and _names(region).isdisjoint(changed):
            yield Edit(region.closing.start, region.closing.end, "\n"), Edit(after.opening.start, after.opening.end)


def _says_it_again(region: Region, changed: set[str]) -> bool:
    outer = region.outer
    while outer is not None:
        if outer.condition == region.condition and not outer.others and _names(region).isdisjoint(changed):
            return True
        outer = outer.outer
    return False


def _names(region: Region) -> set[str]:
    return set(re.findall(r"\w+", region.opening.rest))


def _is_guard(syntax: Syntax, region: Region) -> bool:
    """Whether a region is a header that was to be included once, and nothing else reads its macro."""
    name = _name(region.opening)
    if region.opening.keyword != "ifndef" or region.others or not GUARD.fullmatch(name):
        return False
    following = next((each for each in syntax.directives if each.start >= region.opening.end), None)
    if following is None or following.keyword != "define" or following.rest != name:
        return False
    return not syntax.text[region.opening.end : following.start].strip()


def _name(directive: Directive) -> str:
    found = re.match(r"\w*", directive.rest)
    return found[0] if found else ""


def _regions(syntax: Syntax) -> Iterator[Region]:
    """Every region, outer ones first; unbalanced conditions give one that is never closed."""
    found: list[Region] = []
    current: Region | None = None
    for each in syntax.directives:
        if each.keyword in ("if", "ifdef", "ifndef"):
            current = Region(each, current)
            found.append(current)
        elif each.keyword in ("else", "elif", "elifdef", "elifndef"):
            if current is not None:
                current.others.append(each)
        elif each.keyword == "endif" and current is not None:
            current.closing = each
            current = current.outer
    return iter(found)
