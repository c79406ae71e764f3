"""Where the templates of a text are used."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from evoflash.flattening.cpp.declarations import NAMES, TEMPLATED
from evoflash.flattening.cpp.errors import UnknownError, UnusedError
from evoflash.flattening.cpp.lookup import NameLookup
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.scopes import Namespaces
from evoflash.flattening.cpp.templates import Template, TemplateParameter


class TemplateUse(NamedTuple):
    """A use of a template.

    Attributes:
        arguments: those that are given; None where they are left to be deduced.
        namespaces: those that the template may stand in; None for any.
    """

    arguments: Node | None
    namespaces: frozenset[Namespaces] | None

    def may_mean(self, template: Template) -> bool:
        """Whether it may be a use of this one among the templates of its name."""
        return self.namespaces is None or template.namespaces is None or template.namespaces in self.namespaces


class TemplateUses:
    """Every use of every template in a text.

    Args:
        lookup: tells what names mean while nothing is known of template parameters.

    Attributes:
        by_name: the uses of all templates of a name.
        incomplete: the names that also stand where the tree does not show them, such as in a macro.
    """

    def __init__(self, lookup: NameLookup):
        self._lookup = lookup
        self._syntax = lookup.syntax
        self._templates = lookup.templates
        nodes: dict[str, list[Node]] = {name: [] for name in self._templates.by_name}
        for kind in NAMES:
            for node in self._syntax.nodes.get(kind, ()):
                name = self._syntax.of(node)
                if name in nodes:
                    nodes[name].append(node)
        self.by_name = {name: self._uses(name, found) for name, found in nodes.items()}
        words = Counter(self._syntax.words)
        self.incomplete = {name for name, found in nodes.items() if len(found) != words[name]}

    def _uses(self, name: str, nodes: list[Node]) -> list[TemplateUse]:
        uses = []
        for node in sorted(nodes, key=lambda each: each.start):
            parent = node.parent
            if parent is not None and parent.type in TEMPLATED and node.field == "name":
                if not self._is_declared(parent, name):
                    uses.append(TemplateUse(parent.get("arguments"), self._namespaces_meant(parent)))
            elif not (self._is_declared(node, name) or self._is_inside(node, name) or self._is_another(node, name)):
                uses.append(TemplateUse(None, self._namespaces_meant(node)))
        return uses

    def _is_declared(self, node: Node, name: str) -> bool:
        """Whether this is the name that a template declares."""
        below = node
        for each in node.ancestors():
            template = self._templates.by_node.get(each)
            if template is not None:
                return template.name == name and below is template.inner and _names(node, template.inner)
            if each.type == "friend_declaration":
                return False
            below = each
        return False

    def _is_inside(self, node: Node, name: str) -> bool:
        """Whether this is a class template's own name, which inside of it means this very instance."""
        around = [self._templates.by_node.get(each) for each in node.ancestors()]
        return any(each is not None and each.name == name and not each.is_function for each in around)

    def _is_another(self, node: Node, name: str) -> bool:
        """Whether a name means something else here than a template of that name."""
        if node.field == "declarator":  # of another thing
            return not any(each.type == "template_instantiation" for each in node.ancestors())
        if node.type == "field_identifier":
            around = (each.node.parent for each in self._templates.by_name[name])
            return not any(each is not None and each.type == "field_declaration_list" for each in around)
        try:
            qualified = node
            while qualified.parent is not None and qualified.parent.type == "qualified_identifier":
                qualified = qualified.parent
            meant = self._lookup.meaning(qualified)
        except (UnknownError, UnusedError):
            return False
        return isinstance(meant, TemplateParameter) or meant not in self._templates.by_node

    def _namespaces_meant(self, node: Node) -> frozenset[Namespaces] | None:
        """The namespaces that a name may be meant of; None for any, as that is for one that is not qualified."""
        scopes = self._lookup.scopes
        qualifiers: list[str] = []
        while node.parent is not None and node.parent.type == "qualified_identifier" and node.field == "name":
            scope = node.parent.get("scope")
            if scope is None or not scopes.is_namespace(scope):
                return None
            qualifiers.insert(0, self._syntax.of(scope))
            node = node.parent
        if not qualifiers:
            return None
        spaces = scopes.around(node)
        return frozenset((*spaces[:depth], *qualifiers) for depth in range(len(spaces) + 1))


def _names(node: Node, inner: Node) -> bool:
    """Whether a node is the name of a declaration around it."""
    while node is not inner:
        if node.field not in ("name", "declarator") or node.parent is None:
            return False
        node = node.parent
    return True
