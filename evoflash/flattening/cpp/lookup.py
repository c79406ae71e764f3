"""Name lookup: what names mean, from the inside outwards, as C++ does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from evoflash.flattening.cpp.declarations import (
    NAMES,
    STRUCTS,
    TEMPLATED,
    USER_TYPES,
    enumerators,
    function_name,
    name_of,
    simple,
    struct_of,
    templated,
    without_qualifiers,
)
from evoflash.flattening.cpp.errors import UnknownError, UnusedError
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.scopes import Scopes
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.cpp.templates import Bindings, TemplateArgument, TemplateParameter, Templates
from evoflash.flattening.cpp.types import SPELLINGS, Type

Meaning: TypeAlias = Node | TemplateParameter  # the node that declares a name, or a template's parameter


class NameLookup:
    """Name lookup in a text.

    All methods raise `UnknownError` for what may mean more than one thing, or nothing. They raise `UnusedError` for
    what depends on a template parameter that has no binding.

    Args:
        bindings: what template parameters are. They may change, since nothing is remembered of them.
    """

    def __init__(self, syntax: Syntax, scopes: Scopes, templates: Templates, bindings: Bindings):
        self.syntax = syntax
        self.scopes = scopes
        self.templates = templates
        self._bindings = bindings

    def in_instance(self, arguments: Mapping[TemplateParameter, TemplateArgument]) -> NameLookup:
        """Name lookup in one instance of a template."""
        return NameLookup(self.syntax, self.scopes, self.templates, {**self._bindings, **arguments})

    def argument(self, parameter: TemplateParameter) -> TemplateArgument:
        """What a parameter is in all uses of its template."""
        if parameter not in self._bindings:
            raise UnusedError(parameter.name)
        bound = self._bindings[parameter]
        if bound is None:
            raise UnknownError(parameter.name)
        return bound

    def meaning(self, node: Node) -> Meaning:
        """What a name means where it stands, whether it is qualified or not."""
        if node.type == "qualified_identifier":
            return self.qualified(node)
        if node.type in NAMES:
            return self.unqualified(self.syntax.of(node), node)
        raise UnknownError

    def unqualified(self, name: str, place: Node) -> Meaning:
        """What a name means at a place."""
        below = place
        for node in place.ancestors():
            found = None
            if node.type == "function_definition":
                found = self.scopes.in_function(node, name, place)
                owner = self._owner(node) if found is None else None
                if owner is not None:
                    found = self.member(owner, name)
            elif node.type in STRUCTS and below.type == "field_declaration_list":
                found = self.member(node, name)
            elif node.type == "template_declaration":
                found = self.templates.parameter(node, name)
            if found is not None:
                return found
            below = node
        return self.scopes.in_namespace(name, place)

    def _owner(self, function: Node) -> Node | None:
        """The struct whose member a function is, where it is defined outside of it."""
        named = function_name(function)
        if named is None or named.type != "qualified_identifier":
            return None
        scope, _ = without_qualifiers(named)
        if scope is None or self.scopes.is_namespace(scope):
            return None
        return struct_of(self.scopes.in_namespace(self._simple(scope), function))

    def member(self, struct: Node, name: str) -> Node | None:
        """The declaration of a struct's member, its own or a base's; None where it has none of the name."""
        found = self.scopes.in_struct(struct, name)
        if found is not None:
            return found
        for clause in struct.children:
            if clause.type == "base_class_clause":
                for base in clause.named_children():
                    if base.type in ("access_specifier", "virtual"):
                        continue
                    kind = self.type_of(base)
                    if kind.node is None:
                        raise UnknownError(name)
                    found = self.member(kind.node, name)
                    if found is not None:
                        return found
        return None

    def qualified(self, node: Node) -> Meaning:
        """What a qualified name means."""
        scope, rest = node.get("scope"), node.get("name")
        qualifiers: list[str] = []
        while rest is not None and (scope is None or self.scopes.is_namespace(scope)):
            qualifiers += [self.syntax.of(scope)] if scope is not None else []
            if rest.type != "qualified_identifier":
                return self.scopes.in_namespace(self.syntax.of(simple(rest)), node, tuple(qualifiers))
            scope, rest = rest.get("scope"), rest.get("name")
        if rest is None or scope is None:
            raise UnknownError
        if qualifiers:
            found = self.scopes.in_namespace(self._simple(scope), node, tuple(qualifiers))
            return self._inside(self._named_type(found), rest)
        return self._inside(self.type_of(scope), rest)

    def _inside(self, kind: Type, rest: Node) -> Node:
        """What a name, which may be qualified further, means in a struct or an enumeration."""
        while rest.type == "qualified_identifier":
            scope, following = rest.get("scope"), rest.get("name")
            if scope is None or following is None or kind.node is None:
                raise UnknownError
            found = self.member(kind.node, self.syntax.of(simple(scope)))
            if found is None:
                raise UnknownError
            kind, rest = self._named_type(found), following
        if kind.node is None:
            raise UnknownError
        name = self.syntax.of(simple(rest))
        if kind.node.type == "enum_specifier":
            found = next((each for each in enumerators(kind.node) if self.syntax.of(name_of(each)) == name), None)
        else:
            found = self.member(kind.node, name)
        if found is None:
            raise UnknownError(name)
        return found

    def _simple(self, scope: Node) -> str:
        """The name of a scope, without template arguments."""
        name = scope.get("name") if scope.type in TEMPLATED else scope
        if name is None:
            raise UnknownError
        return self.syntax.of(name)

    def type_of(self, node: Node | None) -> Type:
        """The type that a node names."""
        if node is None:
            raise UnknownError
        if node.type in ("type_descriptor", "dependent_type"):
            inner = node.named_children()
            if len(inner) != 1:  # const, a pointer, a reference
                raise UnknownError
            return self.type_of(inner[0])
        if node.type in ("primitive_type", "sized_type_specifier"):
            return Type(None, " ".join(self.syntax.of(node).split()))
        if node.type in NAMES and self.syntax.of(node) in SPELLINGS:
            return Type(None, self.syntax.of(node))
        if node.type in TEMPLATED:
            return self._named_type(self.unqualified(self._simple(node), node))
        return self._named_type(self.meaning(node))

    def _named_type(self, meaning: Meaning) -> Type:
        if isinstance(meaning, TemplateParameter):
            argument = self.argument(meaning)
            if isinstance(argument, Type):
                return argument
            raise UnknownError
        found = templated(meaning)
        if found is None:
            raise UnknownError
        if found.type == "alias_declaration":
            return self.type_of(found.get("type"))
        if found.type == "field_declaration" and found.get("declarator") is None:
            found = found.get("type")
        if found is not None and found.type in USER_TYPES and found.get("body") is not None:
            return Type(found)
        raise UnknownError
