"""Sandboxed expressions, the language of constraints.

An expression such as ``rows * head_dim * 2 <= device.shared_bytes_per_block`` comes from a YAML file that someone
else may have written, so it is compiled by Jinja2's sandbox: arithmetic, comparisons, `in`, `and`/`or`/`not`, `a if c
else b`, the functions min, max and ceil_div, and attributes of the objects that it is given; nothing that reaches
Python's internals.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes

from evoflash.errors import SpaceError
from evoflash.system.jinja_sandbox import FUNCTIONS, ConfinedEnvironment, ceil_div

__all__ = ["FUNCTIONS", "Expression", "ceil_div", "compile_expression"]


# Nothing else: no filters, no calls but of these functions, no attributes that begin with an underscore.
_NODES = (
    nodes.Const, nodes.Name, nodes.List, nodes.Tuple, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.Getattr,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
)  # fmt: skip


LONGEST = 4000  # characters: a deeper nesting than fits is more than Python's own parser takes
_ENVIRONMENT = ConfinedEnvironment()
_ENVIRONMENT.globals = dict(FUNCTIONS)


def _understood(node: nodes.Expr) -> bool:
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Name) and node.node.name in FUNCTIONS
    return isinstance(node, _NODES) and not (isinstance(node, nodes.Getattr) and node.attr.startswith("_"))


class Expression:
    """One compiled expression. Immutable; `names` are the top-level names that it reads."""

    def __init__(self, text: str, where: str):
        self.text = text
        self.where = where
        if len(text) > LONGEST:
            raise SpaceError(f"{where}: an expression of {len(text)} characters; write it in {LONGEST} or less")
        try:
            tree = _ENVIRONMENT.parse("{{ (" + text + ") }}")
            if not all(_understood(node) for node in tree.find_all(nodes.Expr)):
                words = ", ".join(FUNCTIONS)
                raise SpaceError(
                    f"{where}: {text!r}: only arithmetic, comparisons and {words} are understood; fix the text"
                )
            self._call = _ENVIRONMENT.compile_expression(text, undefined_to_none=False)
        except (jinja2.TemplateError, SyntaxError, RecursionError, MemoryError, ArithmeticError, ValueError) as error:
            why = getattr(error, "message", None) or error
            raise SpaceError(f"{where}: {text!r} does not parse: {why}; fix the expression") from None
        self.names = frozenset(meta.find_undeclared_variables(tree)) - FUNCTIONS.keys()

    def __call__(self, namespace: Mapping[str, Any]) -> Any:
        """The value under these names.

        Raises:
            SpaceError: when a name or attribute is missing or the arithmetic fails.
        """
        _ENVIRONMENT.begin()
        try:
            value = self._call(namespace)
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, RecursionError, NameError) as error:
            raise SpaceError(f"{self.where}: {self.text!r} fails: {error}; fix the expression") from None
        if isinstance(value, jinja2.Undefined):
            raise SpaceError(f"{self.where}: {self.text!r} reads something that does not exist; fix the expression")
        return value

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str, where: str) -> Expression:
    """The compiled form of an expression; the same text is compiled once."""
    return Expression(text, where)
