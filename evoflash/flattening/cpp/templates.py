"""The templates of a text, with their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from evoflash.flattening.cpp.declarations import (
    NAMES,
    STRUCTS,
    TEMPLATED,
    function_declarator,
    simple,
    templated,
    without_qualifiers,
)
from evoflash.flattening.cpp.integers import Value
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.scopes import Namespaces, Scopes
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.cpp.types import Type


@dataclass(eq=False)
class TemplateParameter:
    """A parameter of a template.

    Attributes:
        place: its number among the parameters; None for a pack, whose arguments are never known.
        type: the type of a value; None for a parameter that is a type itself.
        default: the default argument.
    """

    name: str
    template: Template
    place: int | None
    type: Node | None
    default: Node | None


TemplateArgument: TypeAlias = Value | Type
# What parameters are in all uses of their templates. It is None for a parameter where uses differ or one of them is not
# known, and has no entry where no use has been found so far.
Bindings: TypeAlias = Mapping[TemplateParameter, TemplateArgument | None]


@dataclass(eq=False)
class Template:
    """A template, or a specialization of one.

    Attributes:
        node: the whole declaration.
        inner: what is declared, without the parameters.
        arguments: those of a specialization, behind its name; None for a primary template.
        namespaces: those around it; None for a member.
        is_constructor: whether its arguments are nowhere written.
    """

    node: Node
    inner: Node
    name: str
    arguments: Node | None
    namespaces: Namespaces | None
    is_constructor: bool
    parameters: list[TemplateParameter] = field(default_factory=list)

    @property
    def is_function(self) -> bool:
        """Whether its arguments may be deduced from those of a call."""
        return function_declarator(self.inner) is not None

    @property
    def qualified_name(self) -> Node | None:
        """The name of a member of a class template that is defined outside of it."""
        named = (function_declarator(self.inner) or self.inner).get("declarator")
        return named if named is not None and named.type == "qualified_identifier" else None


class Templates:
    """Every template of a text.

    Attributes:
        by_name: primary templates, specializations and members.
        by_node: the same by their declarations.
    """

    def __init__(self, syntax: Syntax, scopes: Scopes):
        self._syntax = syntax
        self._scopes = scopes
        self.by_name: dict[str, list[Template]] = {}
        self.by_node: dict[Node, Template] = {}
        self._primary: dict[str, list[Template]] = {}
        for node in syntax.nodes.get("template_declaration", ()):
            template = self._read(node)
            if template is not None:
                self.by_name.setdefault(template.name, []).append(template)
                self.by_node[node] = template

    def parameter(self, node: Node, name: str) -> TemplateParameter | None:
        """The parameter of this name that a template declaration has."""
        template = self.by_node.get(node)
        parameters = template.parameters if template is not None else []
        return next((each for each in reversed(parameters) if each.name == name), None)

    def primary(self, name: str) -> list[Template]:
        """The templates of a name that are no specializations; one text that stands twice is one template."""
        if name not in self._primary:
            templates = [each for each in self.by_name.get(name, []) if each.arguments is None]
            self._primary[name] = list({self._syntax.of(each.node): each for each in templates}.values())
        return self._primary[name]

    def _read(self, node: Node) -> Template | None:
        inner, parameters = templated(node), node.get("parameters")
        if inner is None or parameters is None:
            return None
        name, arguments = self._name_of(inner)
        is_member = any(each.type == "function_definition" or each.type in STRUCTS for each in node.ancestors())
        owner = next((each.get("name") for each in node.ancestors() if each.type in STRUCTS), None)
        constructs = function_declarator(inner) is not None and owner is not None
        template = Template(
            node,
            inner,
            name,
            arguments,
            None if is_member else self._scopes.around(node),
            constructs and owner is not None and self._syntax.of(simple(owner)) == name,
        )
        for place, each in enumerate(parameters.named_children()):
            template.parameters.append(self._parameter(each, place, template))
        return template

    def _parameter(self, node: Node, place: int, template: Template) -> TemplateParameter:
        is_pack = "variadic" in node.type or node.type == "template_template_parameter_declaration"
        is_type = "type_parameter" in node.type
        found = node.get("name") or node.get("declarator") or (node.named_children() or [None])[-1]
        default = node.get("default_type") or node.get("default_value")
        if is_type and found is default:
            found = None
        words = re.findall(r"\w+", self._syntax.of(found)) if found is not None else []
        kind = None if is_type else node.get("type")
        known = bool(words) and not is_pack and (is_type or kind is not None)
        return TemplateParameter(words[-1] if words else "", template, place if known else None, kind, default)

    def _name_of(self, inner: Node) -> tuple[str, Node | None]:
        """The name that a template declares, and the arguments of a specialization."""
        named = inner.get("name")
        if named is None:
            named = inner.get("declarator")
            while named is not None and not _is_name(named):
                named = named.get("declarator") or next(iter(named.named_children()), None)
        _, named = without_qualifiers(named)
        if named is None:
            return "", None
        if named.type not in TEMPLATED:
            return self._syntax.of(named), None
        name = named.get("name")
        return self._syntax.of(name) if name is not None else "", named.get("arguments")


def _is_name(node: Node) -> bool:
    return node.type in NAMES or node.type in TEMPLATED or node.type in ("qualified_identifier", "operator_name")
