"""What the template parameters of a text are.

A parameter is known when every use of its template in the text gives it the same argument: so a kernel's config struct,
which its templates receive as `Config`, is known in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from evoflash.flattening.cpp.declarations import STRUCTS, TEMPLATED, function_declarator, simple, without_qualifiers
from evoflash.flattening.cpp.errors import UnknownError, UnusedError
from evoflash.flattening.cpp.expressions import ConstantExpressions
from evoflash.flattening.cpp.lookup import NameLookup
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.scopes import Scopes
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.cpp.templates import Bindings, Template, TemplateArgument, TemplateParameter, Templates
from evoflash.flattening.cpp.uses import TemplateUses


def deduced(syntax: Syntax, scopes: Scopes, templates: Templates) -> Bindings:
    """What every template parameter is, over all uses of its template."""
    bindings: dict[TemplateParameter, TemplateArgument | None] = {}
    lookup = NameLookup(syntax, scopes, templates, bindings)
    uses = TemplateUses(lookup)
    parameters = [
        parameter for each in templates.by_name.values() for template in each for parameter in template.parameters
    ]
    bindings.update((each, None) for each in parameters if each.template.name in uses.incomplete)
    # From nothing upwards: a parameter that is handed on to itself, directly or through other templates, adds nothing
    # to what it is given from outside. Each round evaluates anew what the last one has changed.
    changed = True
    while changed:
        changed = False
        arguments = GivenArguments(lookup, uses, bindings)
        for parameter in parameters:
            if parameter in bindings and bindings[parameter] is None:
                continue
            for given in arguments.of(parameter):
                if parameter not in bindings:
                    bindings[parameter], changed = given, True
                elif bindings[parameter] != given:
                    bindings[parameter], changed = None, True
                    break
    return {parameter: bindings.get(parameter) for parameter in parameters}


class GivenArguments:
    """The arguments that the uses of templates give, as far as the bindings of other parameters are known."""

    def __init__(self, lookup: NameLookup, uses: TemplateUses, bindings: Bindings):
        self._lookup = lookup
        self._syntax = lookup.syntax
        self._templates = lookup.templates
        self._uses = uses
        self._bindings = bindings
        self._expressions = ConstantExpressions(lookup)

    def of(self, parameter: TemplateParameter) -> Iterator[TemplateArgument | None]:
        """What each use of its template gives a parameter; None where that is not known.

        Uses whose arguments depend on parameters without a binding are left out.
        """
        template = parameter.template
        if parameter.place is None or template.is_constructor:
            yield None
            return
        if template.arguments is not None or template.qualified_name is not None:
            yield from self._of_specialization(parameter)
            return
        for use in self._uses.by_name[template.name]:
            if not use.may_mean(template):
                continue
            given = use.arguments.named_children() if use.arguments is not None else []
            if any(each.type == "parameter_pack_expansion" for each in given):
                yield None
            elif parameter.place < len(given):
                yield from self._argument(given[parameter.place], parameter)
            elif template.is_function:
                yield from self._deduced(parameter)
            elif use.arguments is not None and parameter.default is not None:
                yield from self._argument(parameter.default, parameter)
            else:
                yield None

    def _argument(self, node: Node, parameter: TemplateParameter) -> Iterator[TemplateArgument | None]:
        try:
            yield self._expressions.argument(node, parameter)
        except UnknownError:
            yield None
        except UnusedError:
            return

    def _of_specialization(self, parameter: TemplateParameter) -> Iterator[TemplateArgument | None]:
        """What the primary template's parameter is, where a specialization hands its own on as it is."""
        template = parameter.template
        name, arguments = template.name, template.arguments
        if template.qualified_name is not None:
            scope, _ = without_qualifiers(template.qualified_name)
            if scope is None or scope.type not in TEMPLATED:
                yield None
                return
            name, arguments = self._syntax.of(simple(scope)), scope.get("arguments")
        primary = [each for each in self._templates.primary(name) if each is not template]
        places = self._places(parameter, arguments)
        if len(primary) != 1 or len(places) != 1:
            yield None
        else:
            yield from self._same_as(primary[0], places[0])

    def _deduced(self, parameter: TemplateParameter) -> Iterator[TemplateArgument | None]:
        """A function's parameter, deduced from what it takes: an instance of a class template with that argument."""
        declarator = function_declarator(parameter.template.inner)
        taken = declarator.get("parameters") if declarator is not None else None
        found = False
        for node in taken.walk() if taken is not None else ():
            if node.type != "template_type":
                continue
            primary = self._templates.primary(self._syntax.of(simple(node)))
            for place in self._places(parameter, node.get("arguments")):
                found = True
                if len(primary) == 1 and primary[0].inner.type in STRUCTS:
                    yield from self._same_as(primary[0], place)
                else:
                    yield None
        if found:
            return
        words = self._syntax.words_in(taken.start, taken.end) if taken is not None else ()
        if parameter.name in words:
            yield None
        elif parameter.default is not None:
            yield from self._argument(parameter.default, parameter)
        # Else nothing can deduce it: what was called is another function of the name.

    def _places(self, parameter: TemplateParameter, arguments: Node | None) -> list[int]:
        """Where a parameter stands among arguments."""
        given = arguments.named_children() if arguments is not None else []
        return [place for place, each in enumerate(given) if self._syntax.of(each) == parameter.name]

    def _same_as(self, template: Template, place: int) -> Iterator[TemplateArgument | None]:
        """What another template's parameter is; nothing where that is not used."""
        if place >= len(template.parameters):
            yield None
        elif template.parameters[place] in self._bindings:
            yield self._bindings[template.parameters[place]]
