"""The scopes of a text: namespaces, functions and structs, each with what it declares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from evoflash.flattening.cpp.declarations import declarations_in, declared
from evoflash.flattening.cpp.errors import UnknownError
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.syntax import Syntax

Namespaces: TypeAlias = tuple[str, ...]  # from the outermost inwards


class Scopes:
    """Declarations by the scope that they stand in: a namespace, a function or a struct.

    Attributes:
        namespaces: the names of all namespaces.
    """

    def __init__(self, syntax: Syntax):
        self._syntax = syntax
        self.namespaces = {"evoflash"}
        self._in_namespaces: dict[str, list[tuple[Namespaces, Node]]] = {}
        self._in_functions: dict[Node, dict[str, list[Node]]] = {}
        self._in_structs: dict[Node, dict[str, list[Node]]] = {}
        self._opens_namespaces = any(
            "namespace" in syntax.of(each).split() for each in syntax.nodes.get("using_declaration", ())
        )
        for spaces, node in self._at_namespace_scope(syntax.tree, ()):
            for name in declared(node, syntax):
                self._in_namespaces.setdefault(name, []).append((spaces, node))

    def _at_namespace_scope(self, scope: Node, spaces: Namespaces) -> Iterator[tuple[Namespaces, Node]]:
        """Declarations with the namespaces that they stand in, less those without a name."""
        for node in scope.children:
            body = node.get("body")
            if node.type == "namespace_definition" and body is not None:
                inner = (*spaces, *self._names_of(node))
                self.namespaces.update(inner)
                yield from self._at_namespace_scope(body, inner)
            elif node.type == "linkage_specification" and body is not None:
                if body.type == "declaration_list":
                    yield from self._at_namespace_scope(body, spaces)
                else:
                    yield spaces, body
            elif node.named and node.type != "comment":
                yield spaces, node

    def _names_of(self, namespace: Node) -> list[str]:
        named = namespace.get("name")
        return re.findall(r"\w+", self._syntax.of(named)) if named is not None else []

    def around(self, place: Node) -> Namespaces:
        """The namespaces around a place, less those without a name."""
        spaces: Namespaces = ()
        for node in place.ancestors():
            if node.type == "namespace_definition":
                spaces = (*self._names_of(node), *spaces)
        return spaces

    def is_namespace(self, node: Node) -> bool:
        """Whether a part of a qualified name is the name of a namespace."""
        return node.type == "namespace_identifier" and self._syntax.of(node) in self.namespaces

    def in_namespace(self, name: str, place: Node, qualifiers: Namespaces = ()) -> Node:
        """The declaration at namespace scope that a name means at a place, behind the names of namespaces.

        Raises:
            UnknownError: when there is none, or more than one.
        """
        found = self._in_namespaces.get(name, [])
        if name in self._syntax.macros:
            raise UnknownError(name)
        spaces = self.around(place)
        for depth in range(len(spaces), -1, -1):
            here = [node for path, node in found if path == (*spaces[:depth], *qualifiers)]
            if here:
                # One text may stand twice, under two conditions of the preprocessor.
                several = len({self._syntax.of(each) for each in here}) > 1
                if several or (len(found) > len(here) and self._opens_namespaces):
                    break
                return here[0]
        if len(found) == 1 and not qualifiers:  # by a `using`
            return found[0][1]
        raise UnknownError(name)

    def in_function(self, function: Node, name: str, place: Node) -> Node | None:
        """The declaration in a function that a name means at a place; None where the function has none of the name.

        Raises:
            UnknownError: unless there is but one, before the place and in a block around it.
        """
        if function not in self._in_functions:
            nodes = iter(function.walk())
            next(nodes)  # the function itself
            self._in_functions[function] = self._by_name(nodes)
        found = self._in_functions[function].get(name)
        if not found:
            return None
        node = found[0]
        if len(found) == 1 and node.start < place.start and any(each is node.parent for each in place.ancestors()):
            return node
        raise UnknownError(name)

    def in_struct(self, struct: Node, name: str) -> Node | None:
        """The declaration of a struct's own member; None where it has none of the name.

        Raises:
            UnknownError: when there are several, or the struct is not defined.
        """
        body = struct.get("body")
        if body is None:
            raise UnknownError(name)
        if struct not in self._in_structs:
            self._in_structs[struct] = self._by_name(declarations_in(body))
        found = self._in_structs[struct].get(name, [])
        if len(found) > 1:
            raise UnknownError(name)
        return found[0] if found else None

    def _by_name(self, nodes: Iterator[Node]) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in nodes:
            for name in declared(node, self._syntax):
                found.setdefault(name, []).append(node)
        return found
