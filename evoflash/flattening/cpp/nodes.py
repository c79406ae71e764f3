"""A node of a syntax tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tree_sitter


class Node:
    """A node of a syntax tree.

    tree-sitter's own nodes find their parents by a walk from the root, so the tree is copied. The children of a node
    are copied when they are first asked for, since most passes look at a few levels only.

    Attributes:
        type: the grammar's name for it, such as "if_statement"; a keyword's is the keyword itself.
        start: its place in the text.
        end: the place after it.
        named: whether it is more than a keyword or punctuation.
        field: what it is to its parent, such as "condition"; None for nothing in particular.
        parent: the node that it is a child of; None for the root.
    """

    __slots__ = ("_children", "_origin", "end", "field", "named", "parent", "start", "type")

    def __init__(self, origin: tree_sitter.Node, field: str | None = None, parent: Node | None = None):
        self._origin = origin
        self._children: Sequence[Node] | None = None if origin.child_count else ()
        self.type = origin.type
        self.start = origin.start_byte
        self.end = origin.end_byte
        self.named = origin.is_named
        self.field = field
        self.parent = parent

    @property
    def broken(self) -> bool:
        """Whether the grammar could not make sense of it."""
        return self._origin.has_error or self._origin.is_missing

    @property
    def children(self) -> Sequence[Node]:
        """The nodes right below, less punctuation, which nothing asks for."""
        if self._children is None:
            self._children = self._copied()
        return self._children

    def _copied(self) -> list[Node]:
        found: list[Node] = []
        cursor = self._origin.walk()
        more = cursor.goto_first_child()
        while more:
            origin, field = cursor.node, cursor.field_name
            assert origin is not None
            if origin.is_named or field is not None or origin.type.isalpha():
                found.append(Node(origin, field, self))
            more = cursor.goto_next_sibling()
        return found

    def get(self, name: str) -> Node | None:
        """The first child in this field."""
        for each in self.children:
            if each.field == name:
                return each
        return None

    def all(self, name: str) -> list[Node]:
        """Every child in this field."""
        return [each for each in self.children if each.field == name]

    def named_children(self) -> list[Node]:
        """The children without keywords and comments."""
        return [each for each in self.children if each.named and each.type != "comment"]

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the text."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            if node.children:
                pending.extend(reversed(node.children))

    def ancestors(self) -> Iterator[Node]:
        """From the parent to the root."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent
