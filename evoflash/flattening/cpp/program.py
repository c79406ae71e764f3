"""A text whose constants are known."""

from __future__ import annotations

import functools

from evoflash.flattening.cpp.deduction import deduced
from evoflash.flattening.cpp.expressions import ConstantExpressions
from evoflash.flattening.cpp.integers import Value
from evoflash.flattening.cpp.lookup import NameLookup
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.scopes import Scopes
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.cpp.templates import Templates


class Program:
    """A text with the values of its constant expressions."""

    def __init__(self, syntax: Syntax):
        self.syntax = syntax

    @functools.cached_property
    def _expressions(self) -> ConstantExpressions:
        scopes = Scopes(self.syntax)
        templates = Templates(self.syntax, scopes)
        bindings = deduced(self.syntax, scopes, templates)
        return ConstantExpressions(NameLookup(self.syntax, scopes, templates, bindings))

    def value(self, node: Node | None) -> Value:
        """The value of an expression.

        Raises:
            UnknownError: when it does not follow from literals for certain.
        """
        return self._expressions.value(node)

    @functools.cached_property
    def destroys(self) -> bool:
        """Whether the end of a variable's life may do something."""
        return "std" in self.syntax.words or "destructor_name" in self.syntax.nodes
