"""Sandboxed expressions, the language of constraints.

An expression such as ``rows * head_dim * 2 <= device.shared_bytes_per_block`` comes from a YAML file that may not be
trusted, so Jinja2's sandbox compiles it. Allowed are arithmetic, comparisons, `in`, `and`/`or`/`not`, `a if c else b`,
the functions min, max and ceil_div, and attributes of the given objects; nothing gives access to Python's internals.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import meta, nodes

from evoflash.errors import SpaceError
from evoflash.system.jinja_sandbox import FUNCTIONS, ConfinedEnvironment, ceil_div

__all__ = ["FUNCTIONS", "Expression", "ceil_div", "compile_expression"]


# The allowed nodes. Filters, other calls, and attributes that begin with an underscore are not allowed.
_NODES = (
    nodes.Const, nodes.Name, nodes.List, nodes.Tuple, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.Getattr,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow,
    nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
)  # fmt: skip


LONGEST = 4000  # maximum length, which also limits the nesting to what Python's parser supports
_ENVIRONMENT = ConfinedEnvironment()
_ENVIRONMENT.globals = dict(FUNCTIONS)


def _is_allowed(node: nodes.Expr) -> bool:
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Name) and node.node.name in FUNCTIONS
    return isinstance(node, _NODES) and not (isinstance(node, nodes.Getattr) and node.attr.startswith("_"))


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
            tree = _ENVIRONMENT.parse("{{ (" + text + ") }}")
            if not all(_is_allowed(node) for node in tree.find_all(nodes.Expr)):
                words = ", ".join(FUNCTIONS)
                raise SpaceError(
                    f"{where}: {text!r}: only arithmetic, comparisons and {words} are allowed; fix the expression"
                )
            self._call = _ENVIRONMENT.compile_expression(text, undefined_to_none=False)
        except (jinja2.TemplateError, SyntaxError, RecursionError, MemoryError, ArithmeticError, ValueError) as error:
            why = getattr(error, "message", None) or error
            raise SpaceError(f"{where}: {text!r} does not parse: {why}; fix the expression") from None
        self.names = frozenset(meta.find_undeclared_variables(tree)) - FUNCTIONS.keys()
        pairs = ((each.node, each.attr) for each in tree.find_all(nodes.Getattr))
        self.facts = frozenset(name for of, name in pairs if isinstance(of, nodes.Name) and of.name == "problem")

    def __call__(self, namespace: Mapping[str, Any]) -> Any:
        """Evaluates the expression with these names.

        Raises:
            SpaceError: when a name or attribute is missing, or the arithmetic fails.
        """
        _ENVIRONMENT.begin()
        try:
            value = self._call(namespace)
        except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, RecursionError, NameError) as error:
            raise SpaceError(f"{self.where}: {self.text!r} fails: {error}; fix the expression") from None
        if isinstance(value, jinja2.Undefined):
            raise SpaceError(f"{self.where}: {self.text!r} reads an undefined value; fix the expression")
        return value

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str, where: str) -> Expression:
    """Compiles an expression; the results are cached."""
    return Expression(text, where)
