"""What of a file is known at build time: integers, booleans and enumerators that follow from literals.

A name is looked up as C++ does it, from the inside outwards; whatever could be one of two things is not known. A
template parameter is known when every use of the template in the file gives it the same argument: so a kernel's config
struct, which its templates receive as `Config`, is known in each of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from evoflash.flattening.syntax import Node, Syntax

# Bits, and whether signed. Narrower types are known by their ranges, and compute as int.
KINDS = {"bool": (1, False), "int": (32, True), "unsigned": (32, False), "long": (64, True), "ulong": (64, False)}
KINDS |= {"int8": (8, True), "uint8": (8, False), "int16": (16, True), "uint16": (16, False)}
TYPES = {
    "bool": "bool",
    **dict.fromkeys(("int", "int32_t", "signed", "signed int"), "int"),
    **dict.fromkeys(("unsigned", "unsigned int", "uint32_t"), "unsigned"),
    **dict.fromkeys(("long", "long long", "long int", "long long int", "int64_t", "ptrdiff_t"), "long"),
    **dict.fromkeys(("unsigned long", "unsigned long long", "uint64_t", "size_t"), "ulong"),
    **dict.fromkeys(("short", "int16_t"), "int16"),
    **dict.fromkeys(("unsigned short", "uint16_t"), "uint16"),
    **dict.fromkeys(("signed char", "int8_t"), "int8"),
    **dict.fromkeys(("unsigned char", "uint8_t"), "uint8"),
}
SIZES = {"float": 4, "double": 8, "char": 1, "bool": 1}
STRUCTS = ("struct_specifier", "class_specifier", "union_specifier")
NAMES = ("identifier", "type_identifier", "field_identifier", "namespace_identifier")
DECLARATORS = ("init_declarator", "function_declarator", "pointer_declarator", "reference_declarator")
DECLARATORS += ("array_declarator", "parenthesized_declarator", "attributed_declarator", "variadic_declarator")
TEMPLATED = ("template_type", "template_function", "template_method")


class UnknownError(Exception):
    """It does not follow from literals, or not for certain."""


class UnusedError(Exception):
    """It reads a parameter of a template that nothing uses, as far as is known by now."""


class Value(NamedTuple):
    """An integer with its type: one of KINDS, or "enum" and the place where the enumeration is declared."""

    number: int
    kind: str


@dataclass(frozen=True)
class Type:
    """A struct by its node, or a fundamental type by its name."""

    node: Node | None
    name: str = ""


@dataclass(eq=False)
class Parameter:
    """A template's parameter.

    Attributes:
        place: among the others; None for a pack, which is never known.
        kind: the type of a value; None for a type.
    """

    name: str
    template: Template
    place: int | None
    kind: Node | None
    default: Node | None


@dataclass(eq=False)
class Template:
    """A template, or a specialisation of one, which has `arguments` behind its name."""

    node: Node
    inner: Node
    name: str
    arguments: Node | None
    parameters: list[Parameter]
    spaces: tuple[str, ...] | None  # the namespaces that it stands in; None for a member

    @property
    def is_function(self) -> bool:
        """Whether its arguments may be deduced from those of a call."""
        return function_declarator(self.inner) is not None


class Use(NamedTuple):
    """A use of a template: with which arguments, and the namespaces of the templates that it may be a use of."""

    arguments: Node | None
    meant: frozenset[tuple[str, ...]] | None


class Program:
    """The names of a file and what is known of them."""

    def __init__(self, syntax: Syntax):
        self.syntax = syntax
        self.tree = syntax.tree
        self.namespaces: set[str] = {"evoflash"}
        self.globals: dict[str, list[tuple[tuple[str, ...], Node]]] = {}  # each with its namespaces
        self.templates: dict[str, list[Template]] = {}
        self._bindings: dict[Parameter, Value | Type | None] | None = None
        self._parameters: dict[Node, dict[str, Parameter]] = {}
        self._locals: dict[Node, dict[str, list[Node]]] = {}
        self._memo: dict[Node, Value] = {}
        self.uses_directives = False
        self._here: dict[Parameter, Value | Type] = {}  # of the instance that is being looked at
        self._members: dict[Node, dict[str, list[Node]]] = {}
        self._gather()

    @property
    def bound(self) -> dict[Parameter, Value | Type | None]:
        """What each parameter of a template is, in all uses of the template; None where they differ."""
        if self._bindings is None:
            self._bindings = {}
            self._bind()
        return self._bindings

    @functools.cached_property
    def destroys(self) -> bool:
        """Whether the end of a variable's life may do something."""
        if any(word == "std" for _, word in self.syntax.words):
            return True
        return any(node.type == "destructor_name" for node in self.tree.walk())

    # ---- declarations ----

    def _gather(self) -> None:
        """The declarations at namespace scope by name, and every template."""
        for spaces, node in self._at_namespace_scope(self.tree, ()):
            for name in declared(node, self.syntax):
                self.globals.setdefault(name, []).append((spaces, node))
        for node in self.tree.walk():
            if node.type == "template_declaration":
                self._add(node)
            self.uses_directives |= node.type == "using_declaration" and "namespace" in self.syntax.of(node).split()

    def _at_namespace_scope(self, scope: Node, spaces: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
        """Declarations with the namespaces that they stand in, less those without a name."""
        for node in scope.children:
            body = node.get("body")
            if node.type == "namespace_definition" and body is not None:
                named = node.get("name")
                inner = (*spaces, *re.findall(r"\w+", self.syntax.of(named))) if named is not None else spaces
                self.namespaces.update(inner)
                yield from self._at_namespace_scope(body, inner)
            elif node.type == "linkage_specification" and body is not None:
                if body.type == "declaration_list":
                    yield from self._at_namespace_scope(body, spaces)
                else:
                    yield spaces, body
            elif node.named and node.type != "comment":
                yield spaces, node

    def _global(self, name: str, at: Node, qualifiers: tuple[str, ...] = ()) -> Node:
        """The declaration at namespace scope that a name means at a place, behind the names of namespaces."""
        found = self.globals.get(name, [])
        if name in self.syntax.macros:
            raise UnknownError(name)
        spaces = self._spaces(at)
        for depth in range(len(spaces), -1, -1):
            here = [node for path, node in found if path == (*spaces[:depth], *qualifiers)]
            if here:
                # One text may stand twice, under two conditions of the preprocessor.
                if len({self.syntax.of(each) for each in here}) > 1 or (
                    len(found) > len(here) and self.uses_directives
                ):
                    break
                return here[0]
        if len(found) == 1 and not qualifiers:  # by a `using`
            return found[0][1]
        raise UnknownError(name)

    def _spaces(self, at: Node) -> tuple[str, ...]:
        """The namespaces around a place, less those without a name."""
        spaces: tuple[str, ...] = ()
        for node in at.ancestors():
            named = node.get("name") if node.type == "namespace_definition" else None
            if named is not None:
                spaces = (*re.findall(r"\w+", self.syntax.of(named)), *spaces)
        return spaces

    def _add(self, node: Node) -> None:
        inner = templated(node)
        parameters = node.get("parameters")
        if inner is None or parameters is None:
            return
        name, arguments = self._name_of(inner)
        is_member = any(each.type in (*STRUCTS, "function_definition") for each in node.ancestors())
        template = Template(node, inner, name, arguments, [], None if is_member else self._spaces(node))
        for place, each in enumerate(parameters.named_children()):
            pack = "variadic" in each.type or each.type == "template_template_parameter_declaration"
            is_type = "type_parameter" in each.type
            found = each.get("name") or each.get("declarator") or (each.named_children() or [None])[-1]
            default = each.get("default_type") or each.get("default_value")
            if is_type and found is default:
                found = None
            words = re.findall(r"\w+", self.syntax.of(found)) if found is not None else []
            kind = None if is_type else each.get("type")
            known = place if words and not pack and (is_type or kind is not None) else None
            template.parameters.append(Parameter(words[-1] if words else "", template, known, kind, default))
        self._parameters[node] = {each.name: each for each in template.parameters}
        self.templates.setdefault(name, []).append(template)

    def _name_of(self, inner: Node) -> tuple[str, Node | None]:
        """The name that a template declares, and the arguments of a specialisation."""
        named = inner.get("name")
        if named is None:
            named = inner.get("declarator")
            while named is not None and named.type not in (*NAMES, *TEMPLATED, "qualified_identifier", "operator_name"):
                named = named.get("declarator") or next(iter(named.named_children()), None)
        while named is not None and named.type == "qualified_identifier":
            named = named.get("name")
        if named is not None and named.type in TEMPLATED:
            name = named.get("name")
            return (self.syntax.of(name) if name is not None else "", named.get("arguments"))
        return (self.syntax.of(named) if named is not None else "", None)

    def _locals_of(self, function: Node) -> dict[str, list[Node]]:
        """Every declaration inside of a function, by name, whatever its scope there."""
        if function not in self._locals:
            found: dict[str, list[Node]] = {}
            for node in function.walk():
                if node is function:
                    continue
                for name in declared(node, self.syntax):
                    found.setdefault(name, []).append(node)
            self._locals[function] = found
        return self._locals[function]

    # ---- names ----

    def find(self, name: str, at: Node) -> Node | Parameter:
        """What an unqualified name means at a place: the node that declares it, or a template's parameter.

        Raises:
            UnknownError: when that is not certain.
        """
        below = at
        for node in at.ancestors():
            if node.type == "function_definition":
                found = self._locals_of(node).get(name, [])
                if found:
                    return self._local(found, at)
                owner = self._owner(node)
                if owner is not None:
                    member = self.member(owner, name)
                    if member is not None:
                        return member
            elif node.type in STRUCTS and below.type == "field_declaration_list":
                member = self.member(node, name)
                if member is not None:
                    return member
            elif node.type == "template_declaration" and name in self._parameters.get(node, {}):
                return self._parameters[node][name]
            below = node
        return self._global(name, at)

    def _local(self, found: list[Node], at: Node) -> Node:
        """A declaration in a function, when there is but one of the name, before the place and around it."""
        node = found[0]
        if len(found) == 1 and node.start < at.start and any(each is node.parent for each in at.ancestors()):
            return node
        raise UnknownError

    def _owner(self, function: Node) -> Node | None:
        """The struct whose member a function is, where it is defined outside of it."""
        declarator = function_declarator(function)
        named = declarator.get("declarator") if declarator is not None else None
        if named is None or named.type != "qualified_identifier":
            return None
        scopes = []
        while named is not None and named.type == "qualified_identifier":
            scopes.append(named.get("scope"))
            named = named.get("name")
        last = scopes[-1]
        if last is None or (last.type == "namespace_identifier" and self.syntax.of(last) in self.namespaces):
            return None
        name = last.get("name") if last.type in TEMPLATED else last
        if name is None:
            raise UnknownError
        return struct_of(self._global(self.syntax.of(name), function))

    def member(self, struct: Node, name: str) -> Node | None:
        """The declaration of a struct's member, its own or a base's; None where it has none of the name.

        Raises:
            UnknownError: when there are several, or a base is not known.
        """
        body = struct.get("body")
        if body is None:
            raise UnknownError
        if struct not in self._members:
            members = self._members[struct] = {}
            for node in declarations(body):
                for each in declared(node, self.syntax):
                    members.setdefault(each, []).append(node)
        found = self._members[struct].get(name, [])
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownError
        for clause in struct.children:
            if clause.type == "base_class_clause":
                for base in clause.named_children():
                    if base.type in ("access_specifier", "virtual"):
                        continue
                    kind = self.type_of(base)
                    if kind.node is None:
                        raise UnknownError
                    member = self.member(kind.node, name)
                    if member is not None:
                        return member
        return None

    def _qualified(self, node: Node) -> Node | Parameter:
        """What a qualified name means."""
        scope, rest = node.get("scope"), node.get("name")
        if rest is None:
            raise UnknownError
        qualifiers: list[str] = []
        while scope is None or (scope.type == "namespace_identifier" and self.syntax.of(scope) in self.namespaces):
            qualifiers += [self.syntax.of(scope)] if scope is not None else []
            if rest.type != "qualified_identifier":
                return self._global(self.syntax.of(simple(rest)), node, tuple(qualifiers))
            scope, rest = rest.get("scope"), rest.get("name")
            if rest is None:
                raise UnknownError
        if qualifiers:
            name = scope.get("name") if scope.type in TEMPLATED else scope
            if name is None:
                raise UnknownError
            found = self._global(self.syntax.of(name), node, tuple(qualifiers))
            return self._inside(self._as_type(found), rest)
        return self._inside(self.type_of(scope), rest)

    def _inside(self, kind: Type, rest: Node) -> Node | Parameter:
        while rest.type == "qualified_identifier":
            scope, following = rest.get("scope"), rest.get("name")
            if scope is None or following is None or kind.node is None:
                raise UnknownError
            found = self.member(kind.node, self.syntax.of(simple(scope)))
            if found is None:
                raise UnknownError
            kind, rest = self._as_type(found), following
        if kind.node is None:
            raise UnknownError
        name = self.syntax.of(simple(rest))
        if kind.node.type == "enum_specifier":
            found = next((each for each in enumerators(kind.node) if self.syntax.of(_name(each)) == name), None)
        else:
            found = self.member(kind.node, name)
        if found is None:
            raise UnknownError
        return found

    # ---- types ----

    def type_of(self, node: Node | None) -> Type:
        """What a type names.

        Raises:
            UnknownError: when that is not certain, or no type.
        """
        if node is None:
            raise UnknownError
        if node.type in ("type_descriptor", "dependent_type"):
            inner = node.named_children()
            if len(inner) != 1:  # const, a pointer, a reference
                raise UnknownError
            return self.type_of(inner[0])
        if node.type in ("primitive_type", "sized_type_specifier"):
            return Type(None, " ".join(self.syntax.of(node).split()))
        if node.type in NAMES:
            if self.syntax.of(node) in TYPES:
                return Type(None, self.syntax.of(node))
            return self._as_type(self.find(self.syntax.of(node), node))
        if node.type in TEMPLATED:
            name = node.get("name")
            if name is None:
                raise UnknownError
            return self._as_type(self.find(self.syntax.of(name), node))
        if node.type == "qualified_identifier":
            return self._as_type(self._qualified(node))
        raise UnknownError

    def _as_type(self, found: Node | Parameter) -> Type:
        if isinstance(found, Parameter):
            bound = self._bound(found)
            if isinstance(bound, Type):
                return bound
            raise UnknownError
        if found.type == "template_declaration":
            inner = templated(found)
            if inner is None:
                raise UnknownError
            found = inner
        if found.type == "alias_declaration":
            return self.type_of(found.get("type"))
        if found.type in (*STRUCTS, "enum_specifier") and found.get("body") is not None:
            return Type(found)
        if found.type == "field_declaration" and found.get("declarator") is None:
            kind = found.get("type")
            if kind is not None and kind.type in (*STRUCTS, "enum_specifier") and kind.get("body") is not None:
                return Type(kind)
        raise UnknownError

    # ---- values ----

    def value(self, node: Node | None, arguments: Mapping[str, Value] | None = None) -> Value:
        """The value of an expression; `arguments` are those of the constexpr function that it stands in.

        Raises:
            UnknownError: when it does not follow from literals.
        """
        if node is None:
            raise UnknownError
        if arguments is not None or self._here:
            return self._value(node, arguments or {})
        if node not in self._memo:
            try:
                self._memo[node] = self._value(node, {})
            except RecursionError:
                raise UnknownError from None
        return self._memo[node]

    def _value(self, node: Node, arguments: Mapping[str, Value]) -> Value:
        of = functools.partial(self.value, arguments=arguments or None)
        kind = node.type
        text = self.syntax.of(node)
        if kind in ("true", "false"):
            return Value(int(kind == "true"), "bool")
        if kind == "number_literal":
            return _literal(text)
        if kind in ("parenthesized_expression", "condition_clause", "type_descriptor", "dependent_name"):
            inner = node.named_children()
            if len(inner) != 1:
                raise UnknownError
            return of(inner[0])
        if kind in NAMES:
            if text in arguments:
                return arguments[text]
            return self._declared_value(self.find(text, node), text)
        if kind == "qualified_identifier":
            return self._declared_value(self._qualified(node), self.syntax.of(last_name(node)))
        if kind == "template_function":
            name = node.get("name")
            if name is None:
                raise UnknownError
            return self._of_instance(self.find(self.syntax.of(name), node), node, self.syntax.of(name))
        if kind == "unary_expression":
            return self._unary(self._operator(node), of(node.get("argument")))
        if kind == "binary_expression":
            return self._binary(self._operator(node), node.get("left"), node.get("right"), of)
        if kind == "conditional_expression":
            return self._conditional(node, of)
        if kind == "cast_expression":
            return self._converted(of(node.get("value")), node.get("type"))
        if kind == "sizeof_expression":
            measured = node.get("type") or node.get("value")
            if measured is not None and measured.type == "parenthesized_expression":  # a type's name, perhaps
                measured = next(iter(measured.named_children()), None)
            return Value(self._bytes(self.type_of(measured)), "ulong")
        if kind == "call_expression":
            return self._call(node, of)
        raise UnknownError

    def _bytes(self, kind: Type) -> int:
        """The size of a fundamental type, or of a struct with one such member and no more."""
        if kind.node is None:
            size = SIZES.get(kind.name) or KINDS.get(TYPES.get(kind.name, ""), (0, False))[0] // 8
        elif kind.node.type == "enum_specifier":
            base = kind.node.get("base")
            size = self._bytes(self.type_of(base)) if base is not None else 0
        else:
            body = kind.node.get("body")
            within = list(declarations(body)) if body is not None else []
            members = [each for each in within if each.type != "alias_declaration" and not self._is_static(each)]
            plain = len(members) == 1 and members[0].type == "field_declaration"
            declarators = members[0].all("declarator") if plain else []
            known = [each.type for each in kind.node.children if each.named] == [
                "type_identifier",
                "field_declaration_list",
            ]
            if not known or [each.type for each in declarators] != ["field_identifier"]:
                raise UnknownError
            size = self._bytes(self.type_of(members[0].get("type")))
        if not size:
            raise UnknownError
        return size

    def _is_static(self, node: Node) -> bool:
        return any(
            each.type == "storage_class_specifier" and self.syntax.of(each) == "static" for each in node.children
        )

    def _operator(self, node: Node) -> str:
        operator = node.get("operator")
        if operator is None:
            raise UnknownError
        return self.syntax.of(operator)

    def _conditional(self, node: Node, of: functools.partial[Value]) -> Value:
        chosen = of(node.get("consequence" if of(node.get("condition")).number else "alternative"))
        try:
            other = of(node.get("alternative" if of(node.get("condition")).number else "consequence"))
        except (UnknownError, UnusedError):
            raise UnknownError from None
        if other.kind != chosen.kind:
            chosen = _as_kind(chosen, _common(chosen.kind, other.kind))
        return chosen

    def _declared_value(self, found: Node | Parameter, name: str) -> Value:
        if isinstance(found, Parameter):
            bound = self._bound(found)
            if isinstance(bound, Value):
                return bound
            raise UnknownError
        if found.type == "enumerator":
            return self._enumerator(found)
        if found.type == "enum_specifier":
            return self._enumerator(next(each for each in enumerators(found) if self.syntax.of(_name(each)) == name))
        node = templated(found) if found.type == "template_declaration" else found
        if node is None or node.type not in ("declaration", "field_declaration"):
            raise UnknownError
        if not any(each.type == "type_qualifier" and self.syntax.of(each) == "constexpr" for each in node.children):
            raise UnknownError
        initial = None
        if node.type == "field_declaration":
            current = ""
            for each in node.children:
                if each.field == "declarator":
                    current = self.syntax.of(each)
                elif each.field == "default_value" and current == name:
                    initial = each
        else:
            for each in node.all("declarator"):
                inner = each.get("declarator")
                if each.type == "init_declarator" and inner is not None and self.syntax.of(inner) == name:
                    initial = each.get("value")
        if initial is None or initial.type == "initializer_list":
            raise UnknownError
        return self._converted(self.value(initial), node.get("type"))

    def _of_instance(self, found: Node | Parameter, node: Node, name: str) -> Value:
        """The value of a variable template for the arguments that are given here."""
        template = next((each for each in self.templates.get(name, []) if each.node is found), None)
        arguments = node.get("arguments")
        given = arguments.named_children() if arguments is not None else []
        if template is None or len(given) != len(template.parameters):
            raise UnknownError
        here: dict[Parameter, Value | Type] = {}
        for parameter, each in zip(template.parameters, given, strict=True):
            if parameter.place is None or each.type == "parameter_pack_expansion":
                raise UnknownError
            known = self.type_of(each) if parameter.kind is None else self._converted(self.value(each), parameter.kind)
            here[parameter] = known
        outer, self._here = self._here, here
        try:
            return self._declared_value(template.node, name)
        finally:
            self._here = outer

    def _enumerator(self, node: Node) -> Value:
        number = 0
        body = node.parent
        if body is None or body.parent is None:
            raise UnknownError
        for each in body.named_children():
            if each.type != "enumerator":  # a line of the preprocessor, perhaps
                raise UnknownError
            if each.get("value") is not None:
                number = self.value(each.get("value")).number
            if each is node:
                return Value(number, f"enum {body.parent.start}")
            number += 1
        raise UnknownError

    def _converted(self, value: Value, kind: Node | None) -> Value:
        if kind is None:
            raise UnknownError
        if kind.type == "placeholder_type_specifier":
            return value
        wanted = self.type_of(kind)
        if wanted.node is not None:
            if value.kind == f"enum {wanted.node.start}":
                return value
            raise UnknownError
        if value.kind.startswith("enum") or wanted.name not in TYPES:
            raise UnknownError
        return _as_kind(value, TYPES[wanted.name])

    def _unary(self, operator: str, value: Value) -> Value:
        if operator == "!":
            return Value(int(not _arithmetic(value).number), "bool")
        promoted = _promoted(value)
        if operator == "+":
            return promoted
        if operator == "-":
            return _checked(-promoted.number, promoted.kind)
        if operator == "~" and KINDS[promoted.kind][1]:
            return Value(~promoted.number, promoted.kind)
        raise UnknownError

    def _binary(self, operator: str, left: Node | None, right: Node | None, of: functools.partial[Value]) -> Value:
        if operator in ("&&", "||", "and", "or"):
            return self._logical(operator in ("&&", "and"), left, right, of)
        one, two = of(left), of(right)
        if operator in ("==", "!=") and one.kind == two.kind:
            return Value(int((one.number == two.number) == (operator == "==")), "bool")
        one, two = _promoted(one), _promoted(two)
        if operator in ("<<", ">>"):
            if not 0 <= two.number < KINDS[one.kind][0] or one.number < 0:
                raise UnknownError
            return _checked(one.number << two.number if operator == "<<" else one.number >> two.number, one.kind)
        kind = _common(one.kind, two.kind)
        a, b = _as_kind(one, kind).number, _as_kind(two, kind).number
        if operator in COMPARISONS:
            return Value(int(COMPARISONS[operator](a, b)), "bool")
        if operator in ("/", "%"):
            if b == 0:
                raise UnknownError
            quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            return _checked(quotient if operator == "/" else a - b * quotient, kind)
        if operator not in ARITHMETIC or (operator in "&|^" and min(a, b) < 0):
            raise UnknownError
        return _checked(ARITHMETIC[operator](a, b), kind)

    @staticmethod
    def _logical(both: bool, left: Node | None, right: Node | None, of: functools.partial[Value]) -> Value:
        """One side may decide alone: that the other is a constant, too, the compiler has seen to."""
        unknown = False
        for each in (left, right):
            try:
                if bool(_arithmetic(of(each)).number) != both:
                    return Value(int(not both), "bool")
            except UnknownError:
                unknown = True
        if unknown:
            raise UnknownError
        return Value(int(both), "bool")

    def _call(self, node: Node, of: functools.partial[Value]) -> Value:
        function, given = node.get("function"), node.get("arguments")
        if function is None or given is None:
            raise UnknownError
        values = [of(each) for each in given.named_children()]
        if function.type == "primitive_type":
            if len(values) != 1:
                raise UnknownError
            return self._converted(values[0], function)
        if function.type == "template_function" and self.syntax.of(simple(function)) == "static_cast":
            wanted = function.get("arguments")
            kinds = wanted.named_children() if wanted is not None else []
            if len(values) != 1 or len(kinds) != 1:
                raise UnknownError
            inner = kinds[0].named_children()
            return self._converted(values[0], inner[0] if len(inner) == 1 else None)
        found = self._qualified(function) if function.type == "qualified_identifier" else None
        if function.type in NAMES:
            found = self.find(self.syntax.of(function), function)
        if found is None or isinstance(found, Parameter):
            raise UnknownError
        return self._returned(found, values)

    def _returned(self, found: Node, values: list[Value]) -> Value:
        """What a constexpr function of one statement returns."""
        node = templated(found) if found.type == "template_declaration" else found
        if node is None or node.type != "function_definition":
            raise UnknownError
        declarator, body = function_declarator(node), node.get("body")
        parameters = declarator.get("parameters") if declarator is not None else None
        if (
            body is None
            or parameters is None
            or not any(self.syntax.of(each) == "constexpr" for each in node.children if each.type == "type_qualifier")
        ):
            raise UnknownError
        statements = body.named_children()
        names = parameters.named_children()
        if len(statements) != 1 or statements[0].type != "return_statement" or len(names) != len(values):
            raise UnknownError
        arguments = {}
        for each, value in zip(names, values, strict=True):
            name = each.get("declarator")
            if each.type != "parameter_declaration" or name is None or name.type != "identifier":
                raise UnknownError
            arguments[self.syntax.of(name)] = self._passed(value, each.get("type"), found)
        returned = statements[0].named_children()
        if len(returned) != 1 or not arguments:
            raise UnknownError
        try:
            result = self.value(returned[0], arguments)
        except RecursionError:
            raise UnknownError from None
        return self._passed(result, node.get("type"), found)

    def _passed(self, value: Value, kind: Node | None, function: Node) -> Value:
        """Converted to a parameter's type; one that is deduced is the argument's own."""
        if kind is not None and self.syntax.of(kind) in self._parameters.get(function, {}):
            return value
        return self._converted(value, kind)

    # ---- template parameters ----

    def _bound(self, parameter: Parameter) -> Value | Type:
        if parameter in self._here:
            return self._here[parameter]
        if parameter not in self.bound:
            raise UnusedError
        bound = self.bound[parameter]
        if bound is None:
            raise UnknownError
        return bound

    def _bind(self) -> None:
        """What each template's parameters are, over all its uses; None where they differ, or are not known.

        From nothing upwards: a parameter that is handed on to itself, directly or through other templates, adds nothing
        to what it is given from outside.
        """
        uses = self._uses()
        changed = True
        while changed:
            changed = False
            self._memo.clear()
            for templates in self.templates.values():
                for template in templates:
                    for parameter in template.parameters:
                        if parameter in self.bound and self.bound[parameter] is None:
                            continue
                        for given in self._given(parameter, uses):
                            if parameter not in self.bound:
                                self.bound[parameter], changed = given, True
                            elif self.bound[parameter] != given:
                                self.bound[parameter], changed = None, True
                                break
        self._memo.clear()
        for templates in self.templates.values():
            for template in templates:
                for parameter in template.parameters:
                    self.bound.setdefault(parameter, None)

    def _uses(self) -> dict[str, list[Use]]:
        """Where each template's name is used."""
        found: dict[str, list[Use]] = {name: [] for name in self.templates}
        ours = {each.node: each for templates in self.templates.values() for each in templates}
        seen: dict[str, int] = dict.fromkeys(found, 0)
        for node in self.tree.walk():
            if node.type not in NAMES or node.children:
                continue
            name = self.syntax.of(node)
            if name not in found:
                continue
            seen[name] += 1
            parent = node.parent
            if parent is not None and parent.type in TEMPLATED and node.field == "name":
                if not self._declares(parent, name, ours):
                    found[name].append(Use(parent.get("arguments"), self._spaces_meant(parent)))
            elif not any(check(node, name, ours) for check in (self._declares, self._inside_itself, self._is_another)):
                found[name].append(Use(None, self._spaces_meant(node)))
        for _, word in self.syntax.words:
            if word in seen:
                seen[word] -= 1
        for name, missing in seen.items():
            if missing != 0:  # in a macro, say
                for template in self.templates[name]:
                    for parameter in template.parameters:
                        self.bound[parameter] = None
        return found

    def _spaces_meant(self, node: Node) -> frozenset[tuple[str, ...]] | None:
        """The namespaces that a name may be meant of; None for any, as that is for one that is not qualified."""
        qualifiers: list[str] = []
        while node.parent is not None and node.parent.type == "qualified_identifier" and node.field == "name":
            scope = node.parent.get("scope")
            if scope is None or scope.type != "namespace_identifier" or self.syntax.of(scope) not in self.namespaces:
                return None
            qualifiers.insert(0, self.syntax.of(scope))
            node = node.parent
        if not qualifiers:
            return None
        spaces = self._spaces(node)
        return frozenset((*spaces[:depth], *qualifiers) for depth in range(len(spaces) + 1))

    def _is_another(self, node: Node, name: str, ours: Mapping[Node, Template]) -> bool:
        """Whether a name means something else here than a template of that name."""
        if node.field == "declarator":  # of another thing
            return not any(each.type == "template_instantiation" for each in node.ancestors())
        if node.type == "field_identifier":
            members = (each.node.parent for each in self.templates[name])
            return not any(each is not None and each.type == "field_declaration_list" for each in members)
        try:
            qualified = node
            while qualified.parent is not None and qualified.parent.type == "qualified_identifier":
                qualified = qualified.parent
            meant = self._qualified(qualified) if qualified is not node else self.find(name, node)
        except (UnknownError, UnusedError):
            return False
        return isinstance(meant, Parameter) or meant not in ours

    def _declares(self, node: Node, name: str, ours: Mapping[Node, Template]) -> bool:
        """Whether this is the name that a template declares."""
        below = node
        for each in node.ancestors():
            if each in ours:
                template = ours[each]
                return template.name == name and below is template.inner and self._is_name(node, template.inner)
            if each.type == "friend_declaration":
                return False
            below = each
        return False

    @staticmethod
    def _is_name(node: Node, inner: Node) -> bool:
        while node is not inner:
            if node.field not in ("name", "declarator") or node.parent is None:
                return False
            node = node.parent
        return True

    @staticmethod
    def _inside_itself(node: Node, name: str, ours: Mapping[Node, Template]) -> bool:
        """Whether this is a class template's own name, which inside of it means this very instance."""
        around = [ours[each] for each in node.ancestors() if each in ours]
        return any(each.name == name and not each.is_function for each in around)

    def _given(self, parameter: Parameter, uses: Mapping[str, list[Use]]) -> Iterator[Value | Type | None]:
        """What a parameter is, by each use of its template."""
        template = parameter.template
        if parameter.place is None or self._constructs(template):
            yield None
            return
        if template.arguments is not None or self._is_member_of_template(template):
            yield from self._specialised(parameter)
            return
        for arguments, meant in uses[template.name]:
            if meant is not None and template.spaces not in meant and template.spaces is not None:
                continue
            given = arguments.named_children() if arguments is not None else []
            if any(each.type == "parameter_pack_expansion" for each in given):
                yield None
            elif parameter.place < len(given):
                yield from self._argument(given[parameter.place], parameter)
            elif template.is_function:
                yield from self._deduced(parameter)
            elif arguments is not None and parameter.default is not None:
                yield from self._argument(parameter.default, parameter)
            else:
                yield None

    def _argument(self, node: Node, parameter: Parameter) -> Iterator[Value | Type | None]:
        try:
            yield self.type_of(node) if parameter.kind is None else self._converted(self.value(node), parameter.kind)
        except UnknownError:
            yield None
        except UnusedError:
            return

    def _constructs(self, template: Template) -> bool:
        """Whether it is a constructor, whose arguments are nowhere written."""
        owner = next((each for each in template.node.ancestors() if each.type in STRUCTS), None)
        named = owner.get("name") if owner is not None else None
        return template.is_function and named is not None and self.syntax.of(simple(named)) == template.name

    def _is_member_of_template(self, template: Template) -> bool:
        """Whether it is a member of a class template that is defined outside of it."""
        declarator = function_declarator(template.inner)
        named = declarator.get("declarator") if declarator is not None else template.inner.get("declarator")
        return named is not None and named.type == "qualified_identifier"

    def _primary(self, name: str) -> list[Template]:
        """The templates of a name that are no specialisations; one text that stands twice is one template."""
        found = {self.syntax.of(each.node): each for each in self.templates.get(name, []) if each.arguments is None}
        return list(found.values())

    def _specialised(self, parameter: Parameter) -> Iterator[Value | Type | None]:
        """A specialisation's parameter is the primary template's where it is handed on as it is."""
        template = parameter.template
        arguments, name = template.arguments, template.name
        if self._is_member_of_template(template):
            declarator = function_declarator(template.inner) or template.inner
            named = declarator.get("declarator")
            scope = named.get("scope") if named is not None else None
            while named is not None and named.type == "qualified_identifier":
                scope, named = named.get("scope"), named.get("name")
            if scope is None or scope.type not in TEMPLATED:
                yield None
                return
            arguments, name = scope.get("arguments"), self.syntax.of(simple(scope))
        primary = [each for each in self._primary(name) if each is not template]
        given = arguments.named_children() if arguments is not None else []
        places = [i for i, each in enumerate(given) if self.syntax.of(each) == parameter.name]
        if len(primary) != 1 or len(places) != 1 or places[0] >= len(primary[0].parameters):
            yield None
        elif primary[0].parameters[places[0]] in self.bound:
            yield self.bound[primary[0].parameters[places[0]]]

    def _deduced(self, parameter: Parameter) -> Iterator[Value | Type | None]:
        """A function's parameter, deduced from what it takes: an instance of a class template with that argument."""
        declarator = function_declarator(parameter.template.inner)
        taken = declarator.get("parameters") if declarator is not None else None
        found = False
        for node in taken.walk() if taken is not None else ():
            if node.type != "template_type" or node.get("arguments") is None:
                continue
            arguments, name = node.get("arguments"), node.get("name")
            assert arguments is not None
            assert name is not None
            primary = self._primary(self.syntax.of(name))
            for place, each in enumerate(arguments.named_children()):
                if self.syntax.of(each) != parameter.name:
                    continue
                found = True
                classes = [one for one in primary if one.inner.type in STRUCTS and place < len(one.parameters)]
                if len(primary) != 1 or len(classes) != 1:
                    yield None
                elif classes[0].parameters[place] in self.bound:
                    yield self.bound[classes[0].parameters[place]]
        if found:
            return
        words = self.syntax.words_in(taken.start, taken.end) if taken is not None else ()
        if parameter.name in words:
            yield None
        elif parameter.default is not None:
            yield from self._argument(parameter.default, parameter)
        # Else nothing can deduce it: what was called is another function of the name.


COMPARISONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
ARITHMETIC = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
}


def declarations(scope: Node) -> Iterator[Node]:
    """The declarations of a namespace, of those in it, or of a struct; a template as a whole."""
    for node in scope.children:
        if node.type in ("namespace_definition", "linkage_specification"):
            body = node.get("body")
            if body is not None and body.type == "declaration_list":
                yield from declarations(body)
            elif body is not None:
                yield body
        elif node.named and node.type != "comment":
            yield node


def declared(node: Node, syntax: Syntax) -> list[str]:
    """The names that a node declares."""
    if node.type == "template_declaration":
        inner = templated(node)
        return declared(inner, syntax) if inner is not None else []
    if node.type in (*STRUCTS, "enum_specifier", "alias_declaration"):
        named = node.get("name")
        names = [syntax.of(simple(named))] if named is not None else []
        if node.type == "enum_specifier" and not any(each.type in ("class", "struct") for each in node.children):
            names += [syntax.of(_name(each)) for each in enumerators(node)]
        return names
    if node.type == "structured_binding_declarator":
        return [syntax.of(each) for each in node.named_children()]
    if node.type in ("using_declaration", "namespace_alias_definition", "lambda_capture_initializer"):
        return re.findall(r"\w+", syntax.of(node))
    if "type_parameter_declaration" in node.type:
        return [syntax.of(each) for each in node.named_children()[:1]]
    found = []
    for each in node.children if node.type not in DECLARATORS else ():
        if each.field == "declarator":
            named = declarator_name(each)
            if named is not None:
                found.append(syntax.of(named))
    kind = node.get("type")
    if node.type in ("declaration", "field_declaration", "type_definition") and kind is not None and kind.get("body"):
        found += declared(kind, syntax)
    return found


def declarator_name(node: Node) -> Node | None:
    """The name inside of a declarator: under pointers, references, arrays, parameters and initial values."""
    while node.type not in (*NAMES, "operator_name", "destructor_name"):
        if node.type == "structured_binding_declarator":
            return None
        following = node.get("name") if node.type in ("qualified_identifier", *TEMPLATED) else node.get("declarator")
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


def templated(node: Node) -> Node | None:
    """What a template declaration declares."""
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


def _name(enumerator: Node) -> Node:
    named = enumerator.get("name")
    assert named is not None
    return named


def _literal(text: str) -> Value:
    found = re.fullmatch(r"(0[xX][0-9a-fA-F']+|0[bB][01']+|[0-9][0-9']*)([uUlLzZ]*)", text)
    if not found:
        raise UnknownError
    digits, suffix = found[1].replace("'", ""), found[2].lower()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    number = int(digits, 8) if octal else int(digits, 0)
    decimal = digits[0] != "0" or digits == "0"
    kinds = ["int", "unsigned", "long", "ulong"]
    if "l" in suffix or "z" in suffix:
        kinds = kinds[2:]
    kinds = [each for each in kinds if each.startswith("u") or "u" not in suffix]
    if decimal and "u" not in suffix:
        kinds = [each for each in kinds if not each.startswith("u")]
    for kind in kinds:
        if _fits(number, kind):
            return Value(number, kind)
    raise UnknownError


def _fits(number: int, kind: str) -> bool:
    bits, signed = KINDS[kind]
    return -(1 << bits - 1) <= number < 1 << bits - 1 if signed else 0 <= number < 1 << bits


def _checked(number: int, kind: str) -> Value:
    if not _fits(number, kind):
        raise UnknownError
    return Value(number, kind)


def _arithmetic(value: Value) -> Value:
    if value.kind.startswith("enum"):
        raise UnknownError
    return value


def _promoted(value: Value) -> Value:
    kind = _arithmetic(value).kind
    return Value(value.number, "int" if KINDS[kind][0] < 32 else kind)


def _as_kind(value: Value, kind: str) -> Value:
    if kind == "bool":
        return Value(int(bool(_arithmetic(value).number)), "bool")
    return _checked(_arithmetic(value).number, kind)


def _common(one: str, two: str) -> str:
    """The type that two operands are converted to."""
    if one == two:
        return one
    if one.startswith("enum") or two.startswith("enum"):
        raise UnknownError
    (bits, signed), (more, other) = (KINDS[_promoted(Value(0, each)).kind] for each in (one, two))
    if bits == more:
        return {32: "int", 64: "long"}[bits] if signed and other else {32: "unsigned", 64: "ulong"}[bits]
    width, sign = (bits, signed) if bits > more else (more, other)
    return {32: "int", 64: "long"}[width] if sign else {32: "unsigned", 64: "ulong"}[width]
