"""A restricted Jinja2 environment for templates and expressions that may not be trusted.

A template can read the given values and their attributes, call its own macros and a few functions, and use a few
filters; none of these give access to Python's internals. Iterations, calls and the size of every string are limited, so
that rendering ends. The rendered source is still a program that will be compiled and run: see docs/security.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

STEPS = 200_000  # maximum number of iterations and calls per rendering
CHARACTERS = 4_000_000  # maximum size of any string or list
READABLE = (SimpleNamespace, LoopContext, Macro, Namespace)  # types whose attributes may be read

# Filters whose output is not much larger than their input. Limited versions of `indent`, `join`, `replace` are below.
FILTERS = (
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "list", "lower", "max",
    "min", "reject", "reverse", "round", "select", "sort", "string", "sum", "trim", "unique", "upper",
)  # fmt: skip


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient rounded up."""
    return -(-dividend // divisor)


FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "ceil_div": ceil_div}


class ConfinedEnvironment(ImmutableSandboxedEnvironment):
    """The restricted environment of the module's docstring; call `begin` before each rendering."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, **options: Any):
        super().__init__(undefined=jinja2.StrictUndefined, **options)
        self.globals = {**FUNCTIONS, "range": range, "namespace": Namespace}
        own = {"indent": _indent, "join": _join, "replace": _replace, "concatenated": _joined, "counted": self._counted}
        self.filters = {**{name: self.filters[name] for name in FILTERS}, **own}
        self._steps = 0

    @staticmethod
    def concat(parts: Iterable[str]) -> str:  # type: ignore[override] - Jinja2's attribute is "".join
        """Joins the output of blocks and macros, with the limit on size."""
        return _joined(parts)

    def begin(self) -> None:
        """Resets the count of steps."""
        self._steps = 0

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only attributes of `READABLE` types; strings have none, not even methods."""
        if type(obj) is SimpleNamespace:  # nearly always: genes, facts and derived values, of which any may be read
            return not attr.startswith("_")
        return isinstance(obj, READABLE) and not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def is_safe_callable(self, obj: Any) -> bool:
        """Only macros, recursive loops, and the functions in `globals`."""
        return isinstance(obj, Macro | LoopContext) or obj in self.globals.values()

    def call(self, context: Any, obj: Any, /, *arguments: Any, **named: Any) -> Any:
        """Counts a call and makes it."""
        self._count()
        return super().call(context, obj, *arguments, **named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic without large powers or repeated sequences, by which a short expression could take forever."""
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if not numbers and (operator != "+" or type(left) is not type(right)):
            raise jinja2.TemplateRuntimeError(f"{_shown(left)} {operator} {_shown(right)} is not numeric arithmetic")
        if operator == "+":
            return left + right if numbers else _limited(left + right)
        if operator == "*":
            return left * right
        if operator == "%":
            return left % right
        if abs(left) > 2**16 or abs(right) > 64:
            raise jinja2.TemplateRuntimeError(f"{_shown(left)} ** {_shown(right)} is too large")
        return left**right

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The syntax tree, with counted loops and limited concatenations (`~`)."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "counted")
        _replace_concatenations(tree)
        return tree

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._count()
            yield value

    def _count(self) -> None:
        self._steps += 1
        if self._steps > STEPS:
            raise jinja2.TemplateRuntimeError(f"rendering takes more than {STEPS} steps")


def _filtered(value: Any, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def _replace_concatenations(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        for number, each in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(each, nodes.Node):
                continue
            _replace_concatenations(each)
            if isinstance(each, nodes.Concat):
                new = _filtered(nodes.List(each.nodes, lineno=each.lineno), "concatenated")
                if isinstance(value, list):
                    value[number] = new
                else:
                    setattr(node, field, new)


def _limited(value: Any) -> Any:
    if len(value) > CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"a string or list exceeds {CHARACTERS} characters")
    return value


def _joined(parts: Iterable[Any]) -> str:
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"a string exceeds {CHARACTERS} characters")
    return "".join(texts)


def _join(values: Iterable[Any], separator: str = "") -> str:
    texts = [str(value) for value in values]
    if sum(map(len, texts)) + len(separator) * len(texts) > CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"a string exceeds {CHARACTERS} characters")
    return separator.join(texts)


def _replace(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"a string exceeds {CHARACTERS} characters")
    return text.replace(old, new)


def _indent(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    lines = str(text).splitlines(keepends=True)
    if len(lines) * max(0, width) > CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"a string exceeds {CHARACTERS} characters")
    margin = " " * width
    return "".join(
        margin + line if (number or first) and (line.strip() or blank) else line for number, line in enumerate(lines)
    )


def _shown(value: Any) -> str:
    """A value for a message, truncated if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}…"
