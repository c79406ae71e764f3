"""What of a file anything refers to: declarations at namespace scope that nothing reaches from its kernels go.

A reference is any word of the same spelling, so what goes is certainly not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evoflash.flattening.cpp.declarations import (
    USER_TYPES,
    declared,
    function_declarator,
    function_name,
    is_constexpr,
    is_stored,
    templated,
)
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.edits import Edit, balanced, removal

KEPT_WORDS = {"__global__", "__attribute__", "__constant__", "__managed__", "main"}


@dataclass(eq=False)
class Item:
    """A declaration at namespace scope.

    Attributes:
        names: by which others refer to it.
        words: what it refers to.
        removable: whether it goes when nothing refers to it.
        taken: for an operator, which no name refers to: the words of the types that it takes.
    """

    node: Node
    start: int
    names: tuple[str, ...]
    words: frozenset[str]
    removable: bool
    taken: frozenset[str] | None = None


def edits(syntax: Syntax) -> Iterator[Edit]:
    """The removal of every declaration that nothing reaches."""
    if any("##" in line.rest for lines in syntax.macros.values() for line in lines):
        return  # a name may be put together
    items = list(_items(syntax, syntax.tree, False))
    words, place = set(), 0  # what stands outside of all items
    for item in items:
        words.update(syntax.words_in(place, item.start))
        place = item.node.end
    words.update(syntax.words_in(place, len(syntax.text)))
    for directive in syntax.directives:
        if directive.keyword != "pragma":
            words.update(re.findall(r"\w+", directive.rest))
    waiting = set()
    for item in items:
        if item.removable:
            waiting.add(item)
        else:
            words |= item.words
    types = {name for item in waiting for name in item.names if _is_type(item.node)}
    while True:
        reached = {
            item
            for item in waiting
            if not words.isdisjoint(item.names) or (item.taken is not None and item.taken & types <= words)
        }
        if not reached:
            break
        waiting -= reached
        words.update(*(item.words for item in reached))
    for item in waiting:
        end = item.node.end
        semicolon = re.compile(r"\s*;").match(syntax.plain, end)
        if semicolon and (item.node.type in USER_TYPES or item.node.type == "template_declaration"):
            end = semicolon.end()
        yield removal(syntax, item.start, end)


def _items(syntax: Syntax, scope: Node, external: bool) -> Iterator[Item]:
    for node in scope.children:
        if not node.named or node.type == "comment":
            continue
        body = node.get("body")
        if node.type == "namespace_definition" and body is not None and not node.broken:
            yield from _items(syntax, body, external)
            continue
        if node.type == "linkage_specification" and body is not None and body.type == "declaration_list":
            yield from _items(syntax, body, True)
            continue
        names = tuple(_refers_by(syntax, node))
        start = syntax.start_of(node)
        words = frozenset(syntax.words_in(start, node.end))
        operator = _operator(node)
        removable = (
            not external
            and not node.broken
            and bool(names or operator is not None)
            and balanced(syntax, start, node.end)
            and words.isdisjoint(KEPT_WORDS)
            and _is_definition(syntax, node)
        )
        taken = frozenset(syntax.words_in(operator.start, operator.end)) if operator is not None else None
        yield Item(node, start, names, words, removable, taken)


def _refers_by(syntax: Syntax, node: Node) -> list[str]:
    """The names by which a declaration is reached: a member's by its struct's."""
    inner = templated(node)
    named = function_name(inner) if inner is not None else None
    if named is not None and named.type == "qualified_identifier":
        return re.findall(r"[A-Za-z_]\w*", syntax.of(named))
    return declared(node, syntax)


def _operator(node: Node) -> Node | None:
    """The parameters of an operator that is defined outside of a struct."""
    inner = templated(node)
    declarator = function_declarator(inner) if inner is not None else None
    named = declarator.get("declarator") if declarator is not None else None
    if declarator is None or named is None or named.type != "operator_name":
        return None
    return declarator.get("parameters")


def _is_type(node: Node) -> bool:
    inner = templated(node)
    return inner is not None and (inner.type in USER_TYPES or inner.type in ("alias_declaration", "type_definition"))


def _is_definition(syntax: Syntax, node: Node) -> bool:
    """Whether it does nothing but to declare: a variable whose initial value is computed does more."""
    inner = templated(node)
    if inner is None:
        return False
    if inner.type == "function_definition" or _is_type(node):
        return True
    if inner.type != "declaration":
        return False
    if function_declarator(inner) is not None and not any(each.type == "init_declarator" for each in inner.children):
        return not is_stored(inner, "extern", syntax)
    return is_constexpr(inner, syntax)
