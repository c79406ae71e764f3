"""A C++ or CUDA file as a syntax tree.

tree-sitter's grammar is that of C++. What CUDA and GNU add is hidden from it, character by character, so that a place
in the tree is the same place in the text: words such as `__device__` become spaces, an asm statement becomes a call,
and lines of the preprocessor are left out.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter
import tree_sitter_cpp

RAW_STRING = r'R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
TOKEN = re.compile(
    r"(?P<comment>//(?:[^\n\\]|\\.)*|/\*.*?\*/)"
    rf"|(?P<raw>{RAW_STRING})"
    r'|(?P<string>"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\')'
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<number>\.?\d(?:'?\w|\.)*)",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(?P<keyword>\w*)(?P<rest>(?:[^\n\\]|\\.)*)\n?", re.MULTILINE | re.DOTALL)

# Words that stand before or inside a declaration and change nothing of its structure; some have arguments.
EXTENSIONS = re.compile(
    r"\b(?:__device__|__host__|__global__|__forceinline__|__noinline__|__shared__|__constant__|__managed__|__restrict__"
    r"|__restrict|__grid_constant__|__extension__|__inline__|__volatile__)\b"
    r"|\b(?:__launch_bounds__|__cluster_dims__|__align__|__attribute__|__declspec)\s*(?=\()"
)
SPECIFIERS = {"static", "inline", "const", "constexpr", "extern", "volatile"}
ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b\s*(?:\b(?:volatile|__volatile__|goto|inline)\b\s*)*(?=\()")


@dataclass(eq=False)
class Node:
    """A node of the tree; `start` and `end` are places in the text."""

    type: str
    start: int
    end: int
    named: bool
    field: str | None
    parent: Node | None = dataclasses.field(repr=False)
    broken: bool
    children: list[Node] = dataclasses.field(default_factory=list, repr=False)

    def get(self, name: str) -> Node | None:
        """The first child in this field."""
        return next((each for each in self.children if each.field == name), None)

    def all(self, name: str) -> list[Node]:
        """Every child in this field."""
        return [each for each in self.children if each.field == name]

    def named_children(self) -> list[Node]:
        """The children without punctuation and comments."""
        return [each for each in self.children if each.named and each.type != "comment"]

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the text."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    def ancestors(self) -> Iterator[Node]:
        """From the parent to the root."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True)
class Directive:
    """A line of the preprocessor, with the lines that continue it; `rest` is what follows the keyword, stripped."""

    start: int
    end: int
    keyword: str
    rest: str


class Syntax:
    """A text with its tokens, its preprocessor lines and its tree."""

    def __init__(self, text: str):
        self.text = text
        self.comments: list[tuple[int, int]] = []
        self.raw_strings: list[tuple[int, int]] = []
        self.words: list[tuple[int, str]] = []
        self.hidden: list[tuple[int, int]] = []  # from the grammar: words before a declaration, with their arguments
        plain = list(text)  # without what comments and strings say
        for token in TOKEN.finditer(text):
            start, end = token.span()
            if token.lastgroup == "word":
                self.words.append((start, token[0]))
            elif token["comment"] is not None:
                self.comments.append((start, end))
                _blank(plain, start, end)
            elif token["raw"] is not None:
                self.raw_strings.append((start, end))
                _blank(plain, start + 2, end - 1)
            elif token["string"] is not None:
                _blank(plain, start + 1, end - 1, "_")
        self.plain = "".join(plain)
        self._starts = [start for start, _ in self.words]
        self.directives = [
            Directive(each.start(), each.end(), each["keyword"], " ".join(each["rest"].split()))
            for each in DIRECTIVE.finditer(self.plain)
        ]

    @functools.cached_property
    def tree(self) -> Node:
        """The root of the tree."""
        return self._parse()

    def words_in(self, start: int, end: int) -> Iterator[str]:
        """The words of code between two places, those of preprocessor lines included."""
        first, last = (bisect.bisect_left(self._starts, place) for place in (start, end))
        return (word for _, word in self.words[first:last])

    def start_of(self, node: Node) -> int:
        """Where a declaration begins, with the hidden words before it."""
        start = node.start
        for begin, end in reversed(self.hidden[: bisect.bisect_left(self.hidden, (start, 0))]):
            if self.plain[end:start].strip():
                break
            start = begin
        return start

    def of(self, node: Node) -> str:
        """A node's text."""
        return self.text[node.start : node.end]

    @functools.cached_property
    def macros(self) -> dict[str, list[Directive]]:
        """The `#define` lines by name."""
        found: dict[str, list[Directive]] = {}
        for each in self.directives:
            name = re.match(r"\w+", each.rest)
            if each.keyword == "define" and name:
                found.setdefault(name[0], []).append(each)
        return found

    def _parse(self) -> Node:
        masked = list(re.sub(r"[^\x00-\x7f]", "_", self.plain))
        for each in self.directives:
            _blank(masked, each.start, each.end)
        specifying = [name for name, lines in self.macros.items() if all(self._only_specifies(line) for line in lines)]
        pattern = EXTENSIONS.pattern + "".join(rf"|\b{re.escape(name)}\b" for name in specifying)
        for found in re.finditer(pattern, "".join(masked)):
            end = found.end()
            if found[0].startswith(("__launch", "__cluster", "__align", "__attr", "__decl")):
                end = _closing(masked, end)
            _blank(masked, found.start(), end)
            self.hidden.append((found.start(), end))
        for found in ASM.finditer("".join(masked)):
            _as_call(masked, found.start(), found.end())
        tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_cpp.language())).parse("".join(masked).encode())
        return _nodes(tree)

    def _only_specifies(self, define: Directive) -> bool:
        """Whether a macro stands for specifiers and attributes alone."""
        body = re.sub(r"^\w+", "", define.rest, count=1)
        if body.startswith("("):
            return False
        body = re.sub(r"__attribute__\s*\(\(.*\)\)|__declspec\s*\(.*\)", "", EXTENSIONS.sub(" __attribute__ ", body))
        return bool(body.strip()) and all(
            word in SPECIFIERS or word == "__attribute__" for word in re.findall(r"\w+|[^\w\s]", body)
        )


def _blank(characters: list[str], start: int, end: int, by: str = " ") -> None:
    for place in range(start, end):
        if characters[place] != "\n":
            characters[place] = by


def _closing(characters: list[str], opening: int) -> int:
    """The place after the parenthesis that closes the one at `opening`."""
    depth, place = 0, opening
    while place < len(characters):
        depth += {"(": 1, ")": -1}.get(characters[place], 0)
        place += 1
        if depth == 0:
            break
    return place


def _as_call(characters: list[str], start: int, opening: int) -> None:
    """Makes `asm volatile("..." : "=r"(x) :: "memory")` read `a            ("..." , "=r"(x)    "memory")`, in place."""
    end = _closing(characters, opening)
    _blank(characters, start, opening)
    characters[start] = "a"
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
                _blank(characters, place, close + 1)
                one = " "
        if one.strip():
            before = one
    if before == ",":  # nothing follows the last colon
        last = max(place for place in range(opening, end) if characters[place] == ",")
        characters[last] = " "


def _nodes(tree: tree_sitter.Tree) -> Node:
    """The tree copied, since nodes of tree-sitter find their parents by a walk from the root."""
    cursor = tree.walk()

    def copied(parent: Node | None) -> Node:
        node = cursor.node
        assert node is not None
        broken = node.has_error or node.is_missing
        return Node(node.type, node.start_byte, node.end_byte, node.is_named, cursor.field_name, parent, broken)

    root = current = copied(None)
    while True:
        if cursor.goto_first_child():
            child = copied(current)
            current.children.append(child)
            current = child
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return root
            assert current.parent is not None
            current = current.parent
        assert current.parent is not None
        sibling = copied(current.parent)
        current.parent.children.append(sibling)
        current = sibling
