"""What nodes declare."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.syntax import Syntax

STRUCTS = frozenset(("struct_specifier", "class_specifier", "union_specifier"))
USER_TYPES = STRUCTS | {"enum_specifier"}
NAMES = frozenset(("identifier", "type_identifier", "field_identifier", "namespace_identifier"))
TEMPLATED = frozenset(("template_type", "template_function", "template_method"))  # names with template arguments
DECLARATORS = frozenset(
    f"{kind}_declarator"
    for kind in ("init", "function", "pointer", "reference", "array", "parenthesized", "attributed", "variadic")
)


def declarations_in(scope: Node) -> Iterator[Node]:
    """The declarations of a namespace, of those in it, or of a struct; a template as a whole."""
    for node in scope.children:
        if node.type in ("namespace_definition", "linkage_specification"):
            body = node.get("body")
            if body is not None and body.type == "declaration_list":
                yield from declarations_in(body)
            elif body is not None:
                yield body
        elif node.named and node.type != "comment":
            yield node


def declared(node: Node, syntax: Syntax) -> list[str]:
    """The names that a node declares."""
    if not node.children or node.type in DECLARATORS:
        return []
    if node.type == "template_declaration":
        inner = templated(node)
        return declared(inner, syntax) if inner is not None else []
    if node.type == "alias_declaration" or node.type in USER_TYPES:
        named = node.get("name")
        names = [syntax.of(simple(named))] if named is not None else []
        if node.type == "enum_specifier" and not any(each.type in ("class", "struct") for each in node.children):
            names += [syntax.of(name_of(each)) for each in enumerators(node)]
        return names
    if node.type == "structured_binding_declarator":
        return [syntax.of(each) for each in node.named_children()]
    if node.type in ("using_declaration", "namespace_alias_definition", "lambda_capture_initializer"):
        return re.findall(r"\w+", syntax.of(node))
    if "type_parameter_declaration" in node.type:
        return [syntax.of(each) for each in node.named_children()[:1]]
    found = []
    for each in node.children:
        if each.field == "declarator":
            named = declarator_name(each)
            if named is not None:
                found.append(syntax.of(named))
    if node.type in ("declaration", "field_declaration", "type_definition"):
        kind = node.get("type")
        if kind is not None and kind.get("body"):
            found += declared(kind, syntax)
    return found


def declarator_name(node: Node) -> Node | None:
    """The name inside of a declarator: under pointers, references, arrays, parameters and initial values."""
    while node.type not in NAMES and node.type not in ("operator_name", "destructor_name"):
        if node.type == "structured_binding_declarator":
            return None
        qualified = node.type == "qualified_identifier" or node.type in TEMPLATED
        following = node.get("name") if qualified else node.get("declarator")
        if following is None:
            following = next((each for each in node.named_children() if "declarator" in each.type), None)
        if following is None:
            following = next((each for each in node.named_children() if each.type in NAMES), None)
        if following is None:
            return None
        node = following
    return node


def function_declarator(node: Node) -> Node | None:
    """The declarator with a function's parameters, if a node declares a function."""
    inner = node.get("declarator")
    while inner is not None and inner.type in ("pointer_declarator", "reference_declarator"):
        inner = inner.get("declarator") or next((each for each in inner.children if "declarator" in each.type), None)
    return inner if inner is not None and inner.type == "function_declarator" else None


def function_name(node: Node) -> Node | None:
    """The name of the function that a node declares, with its qualifiers."""
    declarator = function_declarator(node)
    return declarator.get("declarator") if declarator is not None else None


def parameters_of(function: Node) -> list[Node]:
    """What a function takes."""
    declarator = function_declarator(function)
    parameters = declarator.get("parameters") if declarator is not None else None
    return parameters.named_children() if parameters is not None else []


def returned_by(function: Node) -> Node | None:
    """The expression that a function returns in its only statement; None where there is more to it."""
    body = function.get("body")
    statements = body.named_children() if body is not None else []
    if len(statements) != 1 or statements[0].type != "return_statement":
        return None
    returned = statements[0].named_children()
    return returned[0] if len(returned) == 1 else None


def templated(node: Node) -> Node | None:
    """What a template declaration declares; another node is its own."""
    while node.type == "template_declaration":
        inner = [
            each for each in node.named_children() if each.field != "parameters" and each.type != "requires_clause"
        ]
        if len(inner) != 1:
            return None
        node = inner[0]
    return node


def struct_of(node: Node) -> Node | None:
    """The struct that a node declares, if it does."""
    inner = templated(node)
    return inner if inner is not None and inner.type in STRUCTS else None


def enumerators(node: Node) -> list[Node]:
    """Those of an enumeration."""
    body = node.get("body")
    return [each for each in body.children if each.type == "enumerator"] if body is not None else []


def name_of(enumerator: Node) -> Node:
    """The name of an enumerator."""
    named = enumerator.get("name")
    assert named is not None
    return named


def initial_value(node: Node, name: str, syntax: Syntax) -> Node | None:
    """What the variable or the member of this name is initialised with; None for an initialiser list, too."""
    found = None
    if node.type == "field_declaration":
        current = ""
        for each in node.children:
            if each.field == "declarator":
                current = syntax.of(each)
            elif each.field == "default_value" and current == name:
                found = each
    else:
        for each in node.all("declarator"):
            inner = each.get("declarator")
            if each.type == "init_declarator" and inner is not None and syntax.of(inner) == name:
                found = each.get("value")
    return found if found is not None and found.type != "initializer_list" else None


def is_constexpr(node: Node, syntax: Syntax) -> bool:
    """Whether a declaration says so."""
    return any(each.type == "type_qualifier" and syntax.of(each) == "constexpr" for each in node.children)


def is_stored(node: Node, how: str, syntax: Syntax) -> bool:
    """Whether a declaration has a storage class such as `static`."""
    return any(each.type == "storage_class_specifier" and syntax.of(each) == how for each in node.children)


def simple(node: Node) -> Node:
    """A name without its template arguments."""
    named = node.get("name") if node.type in TEMPLATED else None
    return named if named is not None else node


def last_name(node: Node) -> Node:
    """The last part of a qualified name."""
    while node.type == "qualified_identifier":
        following = node.get("name")
        if following is None:
            break
        node = following
    return simple(node)


def without_qualifiers(node: Node | None) -> tuple[Node | None, Node | None]:
    """The last scope that qualifies a name, and what it qualifies; a name that is not qualified has no scope."""
    scope = None
    while node is not None and node.type == "qualified_identifier":
        scope, node = node.get("scope"), node.get("name")
    return scope, node
