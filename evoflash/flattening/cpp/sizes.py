"""The sizes of types."""

from __future__ import annotations

from evoflash.flattening.cpp.declarations import declarations_in, is_stored
from evoflash.flattening.cpp.errors import UnknownError
from evoflash.flattening.cpp.lookup import NameLookup
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.types import INTEGERS, SPELLINGS, Type

BYTES = {"float": 4, "double": 8, "char": 1, "bool": 1}


def sizeof(node: Node, lookup: NameLookup) -> int:
    """What a sizeof expression gives.

    Raises:
        UnknownError: when the size is not known.
    """
    measured = node.get("type") or node.get("value")
    if measured is not None and measured.type == "parenthesized_expression":  # a type's name, perhaps
        measured = next(iter(measured.named_children()), None)
    return size_of(lookup.type_of(measured), lookup)


def size_of(kind: Type, lookup: NameLookup) -> int:
    """The size in bytes of a fundamental type, of an enumeration, or of a struct with one such member and no more.

    Raises:
        UnknownError: for all others.
    """
    if kind.node is None:
        spelling = SPELLINGS.get(kind.name)
        size = BYTES.get(kind.name) or (INTEGERS[spelling].bits // 8 if spelling is not None else 0)
    elif kind.node.type == "enum_specifier":
        base = kind.node.get("base")
        size = size_of(lookup.type_of(base), lookup) if base is not None else 0
    else:
        size = size_of(lookup.type_of(_only_member(kind.node, lookup).get("type")), lookup)
    if not size:
        raise UnknownError
    return size


def _only_member(struct: Node, lookup: NameLookup) -> Node:
    """The one member of a struct without bases that is an object."""
    body = struct.get("body")
    within = list(declarations_in(body)) if body is not None else []
    syntax = lookup.syntax
    members = [each for each in within if each.type != "alias_declaration" and not is_stored(each, "static", syntax)]
    plain = len(members) == 1 and members[0].type == "field_declaration"
    declarators = [each.type for each in members[0].all("declarator")] if plain else []
    parts = [each.type for each in struct.children if each.named]
    if parts != ["type_identifier", "field_declaration_list"] or declarators != ["field_identifier"]:
        raise UnknownError
    return members[0]
