"""The values of constant expressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

from evoflash.flattening.cpp import integers
from evoflash.flattening.cpp.declarations import (
    NAMES,
    enumerators,
    initial_value,
    is_constexpr,
    last_name,
    name_of,
    parameters_of,
    returned_by,
    simple,
    templated,
)
from evoflash.flattening.cpp.errors import UnknownError, UnusedError
from evoflash.flattening.cpp.integers import Value
from evoflash.flattening.cpp.lookup import Meaning, NameLookup
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.sizes import sizeof
from evoflash.flattening.cpp.templates import TemplateArgument, TemplateParameter
from evoflash.flattening.cpp.types import SPELLINGS

Values: TypeAlias = Mapping[str, Value]
NONE: Values = {}
Item = TypeVar("Item")


class ConstantExpressions:
    """The values of constant expressions in a text.

    Values are remembered, so they are those of the bindings at the time when they were first asked for.

    Args:
        lookup: name lookup, with what template parameters are.
    """

    def __init__(self, lookup: NameLookup):
        self._lookup = lookup
        self._syntax = lookup.syntax
        self._values: dict[Node, Value] = {}

    def value(self, node: Node | None, passed: Values = NONE) -> Value:
        """The value of an expression.

        Args:
            passed: the arguments of the constexpr function that the expression stands in, by parameter.

        Raises:
            UnknownError: when it does not follow from literals.
            UnusedError: when it depends on a template parameter that has no binding.
        """
        if node is None:
            raise UnknownError
        if passed:
            return self._evaluated(node, passed)
        if node not in self._values:
            try:
                self._values[node] = self._evaluated(node, passed)
            except RecursionError:
                raise UnknownError from None
        return self._values[node]

    def _evaluated(self, node: Node, passed: Values) -> Value:
        match node.type:
            case "true" | "false":
                return integers.boolean(node.type == "true")
            case "number_literal":
                return integers.literal(self._syntax.of(node))
            case "parenthesized_expression" | "condition_clause" | "type_descriptor" | "dependent_name":
                return self.value(_single(node.named_children()), passed)
            case "qualified_identifier":
                return self._declared(self._lookup.qualified(node), self._syntax.of(last_name(node)))
            case "template_function":
                return self._instance(node)
            case "unary_expression":
                return integers.unary(self._operator(node), self.value(node.get("argument"), passed))
            case "binary_expression":
                return self._binary(node, passed)
            case "conditional_expression":
                return self._conditional(node, passed)
            case "cast_expression":
                return self.converted(self.value(node.get("value"), passed), node.get("type"))
            case "sizeof_expression":
                return Value(sizeof(node, self._lookup), "ulong")
            case "call_expression":
                return self._call(node, passed)
        if node.type not in NAMES:
            raise UnknownError
        name = self._syntax.of(node)
        return passed[name] if name in passed else self._declared(self._lookup.unqualified(name, node), name)

    def converted(self, value: Value, kind: Node | None) -> Value:
        """The value as the type that a node names; `auto` is its own."""
        if kind is None:
            raise UnknownError
        if kind.type == "placeholder_type_specifier":
            return value
        wanted = self._lookup.type_of(kind)
        if wanted.node is not None:
            if value.kind == f"enum {wanted.node.start}":
                return value
            raise UnknownError
        if value.is_enumerator or wanted.name not in SPELLINGS:
            raise UnknownError
        return integers.converted(value, SPELLINGS[wanted.name])

    def _operator(self, node: Node) -> str:
        operator = node.get("operator")
        if operator is None:
            raise UnknownError
        return self._syntax.of(operator)

    def _binary(self, node: Node, passed: Values) -> Value:
        operator, left, right = self._operator(node), node.get("left"), node.get("right")
        if operator in ("&&", "||", "and", "or"):
            return self._logical(operator in ("&&", "and"), left, right, passed)
        return integers.binary(operator, self.value(left, passed), self.value(right, passed))

    def _logical(self, both: bool, left: Node | None, right: Node | None, passed: Values) -> Value:
        """The value of `&&` (`both`) or `||`.

        One side may decide alone. That the other is a constant, too, the compiler has checked.
        """
        unknown = False
        for each in (left, right):
            try:
                if integers.truth_of(self.value(each, passed)) != both:
                    return integers.boolean(not both)
            except UnknownError:
                unknown = True
        if unknown:
            raise UnknownError
        return integers.boolean(both)

    def _conditional(self, node: Node, passed: Values) -> Value:
        """The value of `?:`. Both sides have to be known, since the type of the whole depends on both."""
        condition = self.value(node.get("condition"), passed).number
        chosen = self.value(node.get("consequence" if condition else "alternative"), passed)
        try:
            other = self.value(node.get("alternative" if condition else "consequence"), passed)
        except UnusedError:
            raise UnknownError from None
        if other.kind == chosen.kind:
            return chosen
        return integers.converted(chosen, integers.common_kind(chosen.kind, other.kind))

    def _declared(self, found: Meaning, name: str) -> Value:
        """The value of what a name means."""
        if isinstance(found, TemplateParameter):
            argument = self._lookup.argument(found)
            if isinstance(argument, Value):
                return argument
            raise UnknownError(name)
        if found.type == "enumerator":
            return self._enumerator(found)
        if found.type == "enum_specifier":
            return self._enumerator(next(each for each in enumerators(found) if self._syntax.of(name_of(each)) == name))
        node = templated(found)
        is_variable = node is not None and node.type in ("declaration", "field_declaration")
        if node is None or not is_variable or not is_constexpr(node, self._syntax):
            raise UnknownError(name)
        return self.converted(self.value(initial_value(node, name, self._syntax)), node.get("type"))

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

    def _instance(self, node: Node) -> Value:
        """The value of a variable template with its arguments."""
        named, arguments = node.get("name"), node.get("arguments")
        if named is None:
            raise UnknownError
        name = self._syntax.of(named)
        found = self._lookup.unqualified(name, node)
        template = self._lookup.templates.by_node.get(found) if isinstance(found, Node) else None
        given = arguments.named_children() if arguments is not None else []
        if template is None or template.name != name or len(given) != len(template.parameters):
            raise UnknownError(name)
        known: dict[TemplateParameter, TemplateArgument] = {}
        for parameter, each in zip(template.parameters, given, strict=True):
            if parameter.place is None or each.type == "parameter_pack_expansion":
                raise UnknownError(name)
            known[parameter] = self.argument(each, parameter)
        return ConstantExpressions(self._lookup.in_instance(known))._declared(template.node, name)

    def argument(self, node: Node, parameter: TemplateParameter) -> TemplateArgument:
        """What a template argument says for a parameter."""
        if parameter.type is None:
            return self._lookup.type_of(node)
        return self.converted(self.value(node), parameter.type)

    def _call(self, node: Node, passed: Values) -> Value:
        function, given = node.get("function"), node.get("arguments")
        if function is None or given is None:
            raise UnknownError
        values = [self.value(each, passed) for each in given.named_children()]
        if function.type == "primitive_type":
            return self.converted(_single(values), function)
        if function.type == "template_function" and self._syntax.of(simple(function)) == "static_cast":
            wanted = function.get("arguments")
            kind = _single(wanted.named_children() if wanted is not None else [])
            inner = kind.named_children()
            return self.converted(_single(values), inner[0] if len(inner) == 1 else None)
        found = self._lookup.meaning(function)
        if isinstance(found, TemplateParameter):
            raise UnknownError
        return self._returned(found, values)

    def _returned(self, found: Node, values: list[Value]) -> Value:
        """What a constexpr function of one statement returns."""
        function = templated(found)
        if function is None or function.type != "function_definition" or not is_constexpr(function, self._syntax):
            raise UnknownError
        parameters, returned = parameters_of(function), returned_by(function)
        if returned is None or not values or len(parameters) != len(values):
            raise UnknownError
        passed = {}
        for each, value in zip(parameters, values, strict=True):
            name = each.get("declarator")
            if each.type != "parameter_declaration" or name is None or name.type != "identifier":
                raise UnknownError
            passed[self._syntax.of(name)] = self._passed(value, each.get("type"), found)
        try:
            result = self.value(returned, passed)
        except RecursionError:
            raise UnknownError from None
        return self._passed(result, function.get("type"), found)

    def _passed(self, value: Value, kind: Node | None, function: Node) -> Value:
        """The value as a function's parameter or result, whose type may be a parameter of its template."""
        if kind is not None and self._lookup.templates.parameter(function, self._syntax.of(kind)) is not None:
            return value  # the type is deduced from it
        return self.converted(value, kind)


def _single(items: list[Item]) -> Item:
    if len(items) != 1:
        raise UnknownError
    return items[0]
