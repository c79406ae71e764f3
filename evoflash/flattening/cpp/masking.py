"""The text that the grammar is shown.

tree-sitter's grammar is that of C++. What CUDA and GNU add is hidden from it, character by character, so that a place
in the tree is the same place in the text: words such as `__device__` become spaces, an asm statement becomes a call,
and lines of the preprocessor are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from evoflash.flattening.cpp.preprocessor import Directive

# Words that stand before or inside a declaration and change nothing of its structure; some have arguments.
EXTENSIONS = re.compile(
    r"\b(?:__device__|__host__|__global__|__forceinline__|__noinline__|__shared__|__constant__|__managed__|__restrict__"
    r"|__restrict|__grid_constant__|__extension__|__inline__|__volatile__)\b"
    r"|\b(?:__launch_bounds__|__cluster_dims__|__align__|__attribute__|__declspec)\s*(?=\()"
)
WITH_ARGUMENTS = ("__launch", "__cluster", "__align", "__attr", "__decl")
SPECIFIERS = {"static", "inline", "const", "constexpr", "extern", "volatile"}
ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b\s*(?:\b(?:volatile|__volatile__|goto|inline)\b\s*)*(?=\()")
PARENTHESIS = re.compile(r"[()]")
VISIBLE = re.compile(r"[^\n]")
NOT_ASCII = re.compile(r"[^\x00-\x7f]")


class Masked(NamedTuple):
    """A text for the grammar, and the places of the words that are hidden in it, with their arguments."""

    text: str
    hidden: list[tuple[int, int]]


def masked(plain: str, directives: Iterable[Directive], macros: Mapping[str, list[Directive]]) -> Masked:
    """What the grammar is shown of a text without comments and strings."""
    # One character has to be one byte, as the grammar counts bytes.
    shown = blanked(NOT_ASCII.sub("_", plain), [(each.start, each.end) for each in directives])
    specifying = [name for name, lines in macros.items() if all(_only_specifies(line) for line in lines)]
    hidden = []
    for found in re.finditer(EXTENSIONS.pattern + "".join(rf"|\b{re.escape(name)}\b" for name in specifying), shown):
        end = _closing(shown, found.end()) if found[0].startswith(WITH_ARGUMENTS) else found.end()
        hidden.append((found.start(), end))
    return Masked(_with_calls(blanked(shown, hidden)), hidden)


def blanked(text: str, places: Iterable[tuple[int, int]], by: str = " ") -> str:
    """The text with every character between these places replaced, less the ends of lines."""
    parts, place = [], 0
    for start, end in places:
        parts += [text[place:start], VISIBLE.sub(by, text[max(start, place) : end])]
        place = max(place, end)
    return "".join(parts) + text[place:]


def _only_specifies(define: Directive) -> bool:
    """Whether a macro stands for specifiers and attributes alone."""
    body = re.sub(r"^\w+", "", define.rest, count=1)
    if body.startswith("("):
        return False
    body = re.sub(r"__attribute__\s*\(\(.*\)\)|__declspec\s*\(.*\)", "", EXTENSIONS.sub(" __attribute__ ", body))
    return bool(body.strip()) and all(
        word in SPECIFIERS or word == "__attribute__" for word in re.findall(r"\w+|[^\w\s]", body)
    )


def _closing(text: str, opening: int) -> int:
    """The place after the parenthesis that closes the one at `opening`."""
    depth = 0
    for found in PARENTHESIS.finditer(text, opening):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.end()
    return len(text)


def _with_calls(text: str) -> str:
    """The text with calls for asm statements."""
    characters = list(text)
    for found in ASM.finditer(text):
        _make_call(characters, found.start(), found.end(), _closing(text, found.end()))
    return "".join(characters)


def _make_call(characters: list[str], start: int, opening: int, end: int) -> None:
    """Makes `asm volatile("..." : "=r"(x) :: "memory")` read `a            ("..." , "=r"(x)    "memory")`, in place."""
    characters[start:opening] = "a".ljust(opening - start)
    depth, quoted, before = 0, False, "("
    for place in range(opening, end - 1):
        one = characters[place]
        if one == '"':
            quoted = not quoted
        if not quoted:
            depth += {"(": 1, ")": -1}.get(one, 0)
            if depth == 1 and one == ":":
                one = characters[place] = " " if before in ",(" else ","
            elif depth == 1 and one == "[":  # the name of an operand
                close = characters.index("]", place)
                characters[place : close + 1] = " " * (close + 1 - place)
                one = " "
        if one.strip():
            before = one
    if before == ",":  # nothing follows the last colon
        last = max(place for place in range(opening, end) if characters[place] == ",")
        characters[last] = " "
