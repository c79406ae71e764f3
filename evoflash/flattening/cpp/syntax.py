"""A C++ or CUDA text with its words, comments and preprocessor lines, and as a syntax tree."""

from __future__ import annotations

import bisect
import functools
import re

import tree_sitter
import tree_sitter_cpp

from evoflash.flattening.cpp.masking import Masked, blanked, masked
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.preprocessor import directives_of, macros_of

RAW_STRING = r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
TOKEN = re.compile(
    r"(?P<comment>//(?:[^\n\\]|\\.)*|/\*.*?\*/)"
    rf"|(?P<raw>{RAW_STRING})"
    r'|(?P<string>"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\')'
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<number>\.?\d(?:'?\w|\.)*)",
    re.DOTALL,
)
LANGUAGE = tree_sitter.Language(tree_sitter_cpp.language())


class Syntax:
    """A text and what it consists of.

    Attributes:
        comments: their places.
        raw_strings: their places.
        words: keywords and names, those of preprocessor lines included.
        places: of the words.
        plain: the text without what comments and strings say.
        directives: the lines of the preprocessor.
        macros: the `#define` lines by name.
    """

    def __init__(self, text: str):
        self.text = text
        self.comments: list[tuple[int, int]] = []
        self.raw_strings: list[tuple[int, int]] = []
        self.words: list[str] = []
        self.places: list[int] = []
        strings: list[tuple[int, int]] = []
        for token in TOKEN.finditer(text):
            kind = token.lastgroup
            if kind == "word":
                self.words.append(token[0])
                self.places.append(token.start())
            elif kind == "comment":
                self.comments.append(token.span())
            elif kind == "raw":
                self.raw_strings.append(token.span())
            elif kind == "string":
                strings.append((token.start() + 1, token.end() - 1))
        raw = [(start + 2, end - 1) for start, end in self.raw_strings]
        self.plain = blanked(blanked(text, strings, "_"), sorted(self.comments + raw))
        self.directives = directives_of(self.plain)
        self.macros = macros_of(self.directives)

    @functools.cached_property
    def tree(self) -> Node:
        """The root of the tree."""
        return Node(tree_sitter.Parser(LANGUAGE).parse(self._masked.text.encode()).root_node)

    @functools.cached_property
    def nodes(self) -> dict[str, list[Node]]:
        """All nodes of the tree by type, in the order of the text."""
        found: dict[str, list[Node]] = {}
        for node in self.tree.walk():
            found.setdefault(node.type, []).append(node)
        return found

    @functools.cached_property
    def _masked(self) -> Masked:
        return masked(self.plain, self.directives, self.macros)

    def of(self, node: Node) -> str:
        """A node's text."""
        return self.text[node.start : node.end]

    def words_in(self, start: int, end: int) -> list[str]:
        """The words between two places."""
        first, last = (bisect.bisect_left(self.places, place) for place in (start, end))
        return self.words[first:last]

    def start_of(self, node: Node) -> int:
        """Where a declaration begins, with the words before it that are hidden from the grammar."""
        start, hidden = node.start, self._masked.hidden
        for begin, end in reversed(hidden[: bisect.bisect_left(hidden, (start, 0))]):
            if self.plain[end:start].strip():
                break
            start = begin
        return start
