"""Validity of genomes: the constraints of a space, bound to a device and to one or several problems.

Evaluating a constraint is slow, and genomes are many but similar. So results are cached by the values that a constraint
reads, constraints that read few parameters are checked first, values that a constraint on a single parameter excludes
are removed in advance, and independent components of the parameters are treated separately (`component.py`).
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

from evoflash.core.genome import Gene
from evoflash.errors import SpaceError
from evoflash.space.decision_diagram import picker
from evoflash.space.declaration import Constraint, Declaration
from evoflash.space.expression import Expression, compile_expression

EXPLAIN_DRAWS = 2000


@dataclass(frozen=True)
class Check:
    """A constraint for one of the problems.

    Attributes:
        number: its position in the declaration; a constraint may guard later ones, e.g. against division by zero.
        problem: the index of the problem.
        derived: the derived names that it needs, in the order of their computation.
        reads: the parameters that it depends on.
        known: cached results by the values of `reads`. An evaluation takes some tens of microseconds, and a search
            makes thousands with the same few values.
        values: the values of `reads` in a genome, as a key of `known`.
    """

    number: int
    problem: int
    expression: Expression
    derived: tuple[str, ...]
    reads: tuple[str, ...]
    known: dict[Any, bool] = field(default_factory=dict, compare=False, repr=False)
    values: Callable[[Mapping[str, Gene]], Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", picker(self.reads))


class Validity:
    """The constraints of a declaration, bound to the facts of a device and of problems; all must hold for each problem.

    Attributes:
        checks: the checks in the order of the declaration, problem by problem.
        cheapest: the same checks, ordered by the number of parameters that they read.
        domains: the values of each parameter, without those that a constraint on it alone excludes.
        components: the connected components of the parameters under shared constraints, each with its checks.
    """

    def __init__(self, declaration: Declaration, problems: Sequence[Mapping[str, Any]], device: Mapping[str, Any]):
        self.family = declaration.family
        self.parameters = declaration.parameters
        self._facts = [{"problem": SimpleNamespace(**each), "device": SimpleNamespace(**device)} for each in problems]
        where = f"search space {declaration.family}"
        self._derived = {name: compile_expression(str(text), where) for name, text in declaration.derived.items()}
        self._constraints = [(each, compile_expression(each.expr, where)) for each in declaration.constraints]
        self._derived_values: list[dict[str, tuple[dict[Any, Any], Callable[[Mapping[str, Gene]], Any]]]] = [
            {name: ({}, picker(self._reads(self._wanted(each)))) for name, each in self._derived.items()}
            for _ in problems
        ]
        self.checks = self._checks()
        self.cheapest = sorted(self.checks, key=lambda check: len(check.reads))
        self.domains = self._filtered_domains()
        self.components = self._independent_components()

    def derived(self, genome: Mapping[str, Gene]) -> dict[str, Any]:
        """The derived values of a genome for the first problem, e.g. its shared memory.

        Raises:
            SpaceError: for a genome of another space, or of an earlier version of this one.
        """
        missing = [name for name in self.parameters if name not in genome]
        if missing:
            raise SpaceError(f"family {self.family}: parameter {missing[0]!r} is missing; give it a value")
        names = self._with_derived(0, self._derived, genome)
        return {name: names[name] for name in self._derived}

    def broken(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """The constraints that a complete genome violates, except those whose guard is violated."""
        broken: list[Constraint] = []
        for check in self.checks:
            constraint = self._constraints[check.number][0]
            if constraint in broken:  # violated for an earlier problem
                continue
            try:
                holds = self.holds([check], genome)
            except SpaceError:
                if not broken:  # otherwise a violated constraint guards this one
                    raise
                continue
            if not holds:
                broken.append(constraint)
        return broken

    def explain(self, rng: random.Random) -> list[tuple[Constraint, float]]:
        """Each constraint with the share of unconstrained random genomes that it excludes, largest first."""
        counts = dict.fromkeys(range(len(self._constraints)), 0)
        for _ in range(EXPLAIN_DRAWS):
            genes = self._draw_unconstrained(rng)
            excluded: set[int] = set()
            for problem in range(len(self._facts)):
                names = self._with_derived(problem, self._derived, genes)
                excluded |= {n for n, (_, expression) in enumerate(self._constraints) if not expression(names)}
            for number in excluded:
                counts[number] += 1
        shares = [(self._constraints[number][0], count / EXPLAIN_DRAWS) for number, count in counts.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    def holds(self, checks: Sequence[Check], genes: Mapping[str, Gene]) -> bool:
        """Whether all checks hold; the genes must include all that they read."""
        try:
            for check in checks:  # a search comes by here millions of times
                is_true = check.known.get(check.values(genes))
                if is_true is None:
                    is_true = self._is_true(check, genes)
                if not is_true:
                    return False
            return True
        except SpaceError:  # a check was evaluated before its guard, e.g. against a division by zero
            return all(self._is_true(check, genes) for check in sorted(checks, key=lambda each: each.number))

    def require_possible(self, rng: random.Random) -> None:
        """Raises SpaceError if a constraint fails that depends only on the problem or the device."""
        if not self.holds([check for check in self.checks if not check.reads], {}):
            self.raise_empty(rng)

    def complete(
        self, rng: random.Random | None, kept: Mapping[str, Gene], names: Sequence[str], checks: Sequence[Check]
    ) -> Iterator[dict[str, Gene]]:
        """All valid completions of the kept genes over these names, by depth-first search.

        Constraints prune as soon as their genes are set. Without `rng` the order is that of the declaration.
        """
        free = [name for name in names if name not in kept]
        if rng is not None:  # the most constrained first, to find dead ends early; ties in random order
            rng.shuffle(free)
            free.sort(key=lambda name: -sum(name in check.reads for check in checks))
        order = [*kept, *free]
        place = {name: number for number, name in enumerate(order)}
        due: list[list[Check]] = [[] for _ in range(len(order) + 1)]
        for check in checks:
            due[max(len(kept), 1 + max((place[name] for name in check.reads), default=-1))].append(check)

        def extend(depth: int, genes: dict[str, Gene]) -> Iterator[dict[str, Gene]]:
            if not self.may_hold(due[depth], genes) or (depth == len(order) and not self.holds(checks, genes)):
                return
            if depth == len(order):
                yield {name: genes[name] for name in names}
                return
            values = self.domains[order[depth]]
            for value in values if rng is None else rng.sample(values, len(values)):
                yield from extend(depth + 1, {**genes, order[depth]: value})

        yield from extend(len(kept), dict(kept))

    def raise_empty(self, rng: random.Random) -> NoReturn:
        """Raises a SpaceError which says that no genome is valid, and how much each constraint excludes."""
        lines = [
            f"  excludes {share:4.0%} of all genomes: {constraint.expr}  ({constraint.why})"
            for constraint, share in self.explain(rng)
            if share > 0
        ]
        problems = " and ".join(str(vars(each["problem"])) for each in self._facts)
        raise SpaceError(
            f"search space {self.family} has no valid genome here (problem {problems}, "
            f"device {vars(self._facts[0]['device'])}):\n"
            + "\n".join(lines)
            + "\nchoose another family, or widen the parameters that the first line reads"
        )

    def _draw_unconstrained(self, rng: random.Random) -> dict[str, Gene]:
        return {name: rng.choice(parameter.values) for name, parameter in self.parameters.items()}

    def _is_true(self, check: Check, genes: Mapping[str, Gene]) -> bool:
        read = check.values(genes)
        if read not in check.known:
            check.known[read] = bool(check.expression(self._with_derived(check.problem, check.derived, genes)))
        return check.known[read]

    def may_hold(self, checks: Sequence[Check], genes: Mapping[str, Gene]) -> bool:
        """Whether no check fails; checks whose guard reads genes that are not set yet are skipped."""
        try:
            return self.holds(checks, genes)
        except SpaceError:
            return True

    def _with_derived(self, problem: int, wanted: Iterable[str], genes: Mapping[str, Gene]) -> dict[str, Any]:
        """The names that an expression may read, for one problem, including these derived names."""
        scope = {**self._facts[problem], **genes}
        for name in wanted:
            known, values = self._derived_values[problem][name]
            read = values(genes)
            if read not in known:
                known[read] = self._derived[name](scope)
            scope[name] = known[read]
        return scope

    def _checks(self) -> list[Check]:
        """Every constraint for every problem, and only once for a constraint that does not read the problem."""
        checks = []
        for problem in range(len(self._facts)):
            for number, (_, expression) in enumerate(self._constraints):
                wanted = self._wanted(expression)
                if problem == 0 or "problem" in wanted:
                    derived = tuple(name for name in self._derived if name in wanted)
                    checks.append(Check(number, problem, expression, derived, self._reads(wanted)))
        return checks

    def _wanted(self, expression: Expression) -> set[str]:
        """All names that an expression depends on, including those used by derived names."""
        wanted: set[str] = set()
        queue = list(expression.names)
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue += self._derived[name].names if name in self._derived else ()
        return wanted

    def _reads(self, wanted: set[str]) -> tuple[str, ...]:
        return tuple(name for name in self.parameters if name in wanted)

    def _filtered_domains(self) -> dict[str, list[Gene]]:
        """The values of each parameter, without those that a constraint on it alone excludes."""
        domains: dict[str, list[Gene]] = {}
        for name, parameter in self.parameters.items():
            checks = [check for check in self.checks if set(check.reads) <= {name}]
            domains[name] = [value for value in parameter.values if self.may_hold(checks, {name: value})]
        return domains

    def _independent_components(self) -> list[tuple[list[str], list[Check]]]:
        """The connected components of the parameters under shared constraints, each with its checks."""
        component_of = {name: {name} for name in self.parameters}
        for check in self.checks:
            merged = set().union(*(component_of[name] for name in check.reads))
            component_of |= dict.fromkeys(merged, merged)
        components: list[tuple[list[str], list[Check]]] = []
        for name in self.parameters:
            if all(name not in names for names, _ in components):
                names = [each for each in self.parameters if each in component_of[name]]
                components.append((names, [each for each in self.cheapest if set(names).intersection(each.reads)]))
        return components
