"""Sandboxed expressions, the language of constraints.

An expression such as ``rows * head_dim * 2 <= device.shared_bytes_per_block`` comes from a YAML file that may not be
trusted. Allowed are arithmetic, comparisons, `in`, `and`/`or`/`not`, `a if c else b`, the functions min, max and
ceil_div, and attributes of the given objects; nothing gives access to Python's internals.

Jinja2 parses an expression. It is written down again in Python, from the allowed nodes alone, since a search evaluates
tens of thousands and Jinja2 takes a context for each.
"""

import functools
import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from evoflash.errors import SpaceError
from evoflash.system.jinja_sandbox import FUNCTIONS, ConfinedEnvironment, ceil_div

__all__ = ["FUNCTIONS", "Expression", "ceil_div", "compile_expression"]


LONGEST = 4000  # maximum length, which also limits the nesting to what Python's parser supports
_ENVIRONMENT = ConfinedEnvironment()

_SIGNS = {
    nodes.Sub: "-", nodes.Div: "/", nodes.FloorDiv: "//", nodes.And: "and", nodes.Or: "or",
    nodes.Not: "not", nodes.Neg: "-", nodes.Pos: "+",
}  # fmt: skip
_GUARDED = {
    nodes.Add: "+",
    nodes.Mul: "*",
    nodes.Mod: "%",
    nodes.Pow: "**",
}  # of which numbers and text may be too large
_COMPARISONS = {
    "eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in",
}  # fmt: skip


class _NotAllowedError(Exception):
    """A filter, a call of something else, an attribute that begins with an underscore …"""


class Expression:
    """A compiled, immutable expression.

    Attributes:
        names: the top-level names that it reads.
        facts: the attributes of `problem` that it reads.
    """

    def __init__(self, text: str, where: str):
        self.text = text
        self.where = where
        if len(text) > LONGEST:
            raise SpaceError(f"{where}: an expression of {len(text)} characters; shorten it to at most {LONGEST}")
        try:
            parser = Parser(_ENVIRONMENT, text, state="variable")
            root = parser.parse_expression()
            if not parser.stream.eos:
                raise ValueError("it goes on after its end")
            self._call = eval(f"lambda names: {_python(root)}", dict(_PRIMITIVES))  # noqa: S307 - of allowed nodes only
        except _NotAllowedError:
            words = ", ".join(FUNCTIONS)
            raise SpaceError(
                f"{where}: {text!r}: only arithmetic, comparisons and {words} are allowed; fix the expression"
            ) from None
        except (jinja2.TemplateError, SyntaxError, RecursionError, MemoryError, ArithmeticError, ValueError) as error:
            why = getattr(error, "message", None) or error
            raise SpaceError(f"{where}: {text!r} does not parse: {why}; fix the expression") from None
        found = [root, *root.find_all(nodes.Expr)]
        self.names = frozenset(each.name for each in found if isinstance(each, nodes.Name)) - FUNCTIONS.keys()
        pairs = ((each.node, each.attr) for each in found if isinstance(each, nodes.Getattr))
        self.facts = frozenset(name for of, name in pairs if isinstance(of, nodes.Name) and of.name == "problem")

    def __call__(self, namespace: Mapping[str, Any]) -> Any:
        """Evaluates the expression with these names.

        Raises:
            SpaceError: when a name or attribute is missing, or the arithmetic fails.
        """
        try:
            return self._call(namespace)
        except KeyError as error:
            raise SpaceError(
                f"{self.where}: {self.text!r} reads {error}, which is undefined; fix the expression"
            ) from None
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
            raise SpaceError(f"{self.where}: {self.text!r} fails: {error}; fix the expression") from None

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str, where: str) -> Expression:
    """Compiles an expression; the results are cached."""
    return Expression(text, where)


def _python(node: nodes.Node) -> str:
    """An expression of Python that means the same, with all names in a mapping `names`.

    Raises:
        _NotAllowedError: for a node that is not listed here.
    """
    match node:
        case nodes.Const():
            if isinstance(node.value, float) and not math.isfinite(node.value):
                raise ValueError("a number is too large")
            return repr(node.value)
        case nodes.Name():
            return f"names[{node.name!r}]"
        case nodes.List() | nodes.Tuple():
            return f"[{', '.join(map(_python, node.items))}]"
        case nodes.Getattr() if not node.attr.startswith("_"):
            return f"attribute({_python(node.node)}, {node.attr!r})"
        case nodes.Call(node=nodes.Name(name=name)) if name in FUNCTIONS and not (
            node.kwargs or node.dyn_args or node.dyn_kwargs
        ):
            return f"{name}({', '.join(map(_python, node.args))})"
        case nodes.Compare():
            others = (f" {_COMPARISONS[each.op]} {_python(each.expr)}" for each in node.ops)
            return f"({_python(node.expr)}{''.join(others)})"
        case nodes.CondExpr() if node.expr2 is not None:
            return f"({_python(node.expr1)} if {_python(node.test)} else {_python(node.expr2)})"
        case nodes.BinExpr() if type(node) in _GUARDED:
            return f"arithmetic({_GUARDED[type(node)]!r}, {_python(node.left)}, {_python(node.right)})"
        case nodes.BinExpr() if type(node) in _SIGNS:
            return f"({_python(node.left)} {_SIGNS[type(node)]} {_python(node.right)})"
        case nodes.UnaryExpr():
            return f"({_SIGNS[type(node)]} {_python(node.node)})"
        case _:
            raise _NotAllowedError


def _attribute(of: Any, name: str) -> Any:
    """A fact of the problem or the device."""
    if type(of) is not SimpleNamespace:
        raise TypeError(f"{type(of).__name__} has no attribute {name!r}")
    return vars(of)[name]


def _arithmetic(sign: str, left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:  # nearly always
        if sign == "*":
            return left * right
        if sign == "+":
            return left + right
        if sign == "%":
            return left % right
    return _ENVIRONMENT.call_binop(None, sign, left, right)


_PRIMITIVES = {"__builtins__": {}, **FUNCTIONS, "attribute": _attribute, "arithmetic": _arithmetic}
