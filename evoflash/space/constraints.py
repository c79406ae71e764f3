"""Which genomes are valid: a space's constraints, bound to a device and to one problem, or to several at once.

Constraints are few and slow to evaluate, genomes many and alike. So each constraint remembers its truth by the values
that it reads, those that read few values go first, values that a constraint on one parameter alone excludes are dropped
beforehand, and parameters that no constraint ties together are drawn and searched apart (`group.py`).
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

from evoflash.core.genome import Gene
from evoflash.errors import SpaceError
from evoflash.space.declaration import Constraint, Declaration
from evoflash.space.expression import Expression, compile_expression

EXPLAIN_DRAWS = 2000


@dataclass(frozen=True)
class Check:
    """A constraint ready to be evaluated.

    Attributes:
        number: its place in the order of the declaration, in which a constraint guards those after it.
        problem: which of the problems it is about.
        derived: the derived names that it needs, in the order of their computation.
        reads: the parameters that it depends on.
        known: its truth by the values of `reads`. An evaluation costs some tens of microseconds and a search asks
            thousands of times for the same few values.
    """

    number: int
    problem: int
    expression: Expression
    derived: tuple[str, ...]
    reads: tuple[str, ...]
    known: dict[tuple[Gene, ...], bool] = field(default_factory=dict, compare=False, repr=False)


class Validity:
    """The constraints of a declaration for the facts of a device and of problems, for all of which each must hold.

    Attributes:
        checks: in the order of the declaration, problem by problem; `cheapest` are the same, those that read least
            first.
        domains: each parameter's values, less those that a constraint on it alone excludes.
        groups: the finest partition of the parameters that no constraint crosses, each part with its checks.
    """

    def __init__(self, declaration: Declaration, problems: Sequence[Mapping[str, Any]], device: Mapping[str, Any]):
        self.family = declaration.family
        self.parameters = declaration.parameters
        self._facts = [{"problem": SimpleNamespace(**each), "device": SimpleNamespace(**device)} for each in problems]
        where = f"search space {declaration.family}"
        self._derived = {name: compile_expression(str(text), where) for name, text in declaration.derived.items()}
        self._constraints = [(each, compile_expression(each.expr, where)) for each in declaration.constraints]
        self._derived_values: list[dict[str, tuple[dict[tuple[Gene, ...], Any], tuple[str, ...]]]] = [
            {name: ({}, self._reads(self._wanted(each))) for name, each in self._derived.items()} for _ in problems
        ]
        self.checks = self._checks()
        self.cheapest = sorted(self.checks, key=lambda check: len(check.reads))
        self.domains = self._filtered_domains()
        self.groups = self._independent_groups()

    def derived(self, genome: Mapping[str, Gene]) -> dict[str, Any]:
        """The space's named expressions for a genome and the first problem, e.g. the shared memory that it takes.

        Raises:
            SpaceError: for a genome of another space, or of an earlier version of this one.
        """
        missing = [name for name in self.parameters if name not in genome]
        if missing:
            raise SpaceError(f"family {self.family}: parameter {missing[0]!r} is missing; give it a value")
        names = self._with_derived(0, self._derived, genome)
        return {name: names[name] for name in self._derived}

    def broken(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """The constraints that a complete genome breaks; one that an earlier broken one guards does not count."""
        broken: list[Constraint] = []
        for check in self.checks:
            constraint = self._constraints[check.number][0]
            if constraint in broken:  # for an earlier problem
                continue
            try:
                holds = self.holds([check], genome)
            except SpaceError:
                if not broken:  # else a broken constraint was this one's guard
                    raise
                continue
            if not holds:
                broken.append(constraint)
        return broken

    def explain(self, rng: random.Random) -> list[tuple[Constraint, float]]:
        """Each constraint with the share of blind draws that it alone excludes, the hardest first."""
        counts = dict.fromkeys(range(len(self._constraints)), 0)
        for _ in range(EXPLAIN_DRAWS):
            genes = self._draw_blindly(rng)
            excluded: set[int] = set()
            for problem in range(len(self._facts)):
                names = self._with_derived(problem, self._derived, genes)
                excluded |= {n for n, (_, expression) in enumerate(self._constraints) if not expression(names)}
            for number in excluded:
                counts[number] += 1
        shares = [(self._constraints[number][0], count / EXPLAIN_DRAWS) for number, count in counts.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    def holds(self, checks: Sequence[Check], genes: Mapping[str, Gene]) -> bool:
        """Whether all checks hold for genes that include all that they read."""
        try:
            return all(self._is_true(check, genes) for check in checks)
        except SpaceError:  # one that reads little came before its guard, e.g. against a division by zero
            return all(self._is_true(check, genes) for check in sorted(checks, key=lambda each: each.number))

    def require_possible(self, rng: random.Random) -> None:
        """The constraints that no gene can mend, on the problem or the device alone."""
        if not self.holds([check for check in self.checks if not check.reads], {}):
            self.raise_empty(rng)

    def complete(
        self, rng: random.Random | None, kept: Mapping[str, Gene], names: Sequence[str], checks: Sequence[Check]
    ) -> Iterator[dict[str, Gene]]:
        """Every valid completion of the kept genes over these names, depth first.

        A constraint prunes as soon as its genes are set. Without a generator the order is that of the declaration.
        """
        free = [name for name in names if name not in kept]
        if rng is not None:  # the most constrained first, so that a dead end is seen early; ties at random
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
        """Raises SpaceError: nothing is valid here, and which constraint excludes what."""
        lines = [
            f"  excludes {share:4.0%} of all genomes: {constraint.expr}  ({constraint.why})"
            for constraint, share in self.explain(rng)
            if share > 0
        ]
        problems = " and ".join(str(vars(each["problem"])) for each in self._facts)
        raise SpaceError(
            f"search space {self.family} admits no genome here (problem {problems}, "
            f"device {vars(self._facts[0]['device'])}):\n"
            + "\n".join(lines)
            + "\nchoose another family, or widen the parameters that the first line reads"
        )

    def _draw_blindly(self, rng: random.Random) -> dict[str, Gene]:
        return {name: rng.choice(parameter.values) for name, parameter in self.parameters.items()}

    def _is_true(self, check: Check, genes: Mapping[str, Gene]) -> bool:
        read = tuple(genes[name] for name in check.reads)
        if read not in check.known:
            check.known[read] = bool(check.expression(self._with_derived(check.problem, check.derived, genes)))
        return check.known[read]

    def may_hold(self, checks: Sequence[Check], genes: Mapping[str, Gene]) -> bool:
        """Whether none of the checks fails; one whose guard reads genes that are not set yet says nothing."""
        try:
            return self.holds(checks, genes)
        except SpaceError:
            return True

    def _with_derived(self, problem: int, wanted: Iterable[str], genes: Mapping[str, Gene]) -> dict[str, Any]:
        """Everything that an expression may read of a problem, with these derived names."""
        scope = {**self._facts[problem], **genes}
        for name in wanted:
            known, reads = self._derived_values[problem][name]
            read = tuple(genes[each] for each in reads)
            if read not in known:
                known[read] = self._derived[name](scope)
            scope[name] = known[read]
        return scope

    def _checks(self) -> list[Check]:
        """Every constraint for every problem; one that reads nothing of the problem but once."""
        checks = []
        for problem in range(len(self._facts)):
            for number, (_, expression) in enumerate(self._constraints):
                wanted = self._wanted(expression)
                if problem == 0 or "problem" in wanted:
                    derived = tuple(name for name in self._derived if name in wanted)
                    checks.append(Check(number, problem, expression, derived, self._reads(wanted)))
        return checks

    def _wanted(self, expression: Expression) -> set[str]:
        """All names that an expression depends on, those behind derived names included."""
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
        """Each parameter's values, less those that a constraint on it alone excludes."""
        domains: dict[str, list[Gene]] = {}
        for name, parameter in self.parameters.items():
            checks = [check for check in self.checks if set(check.reads) <= {name}]
            domains[name] = [value for value in parameter.values if self.may_hold(checks, {name: value})]
        return domains

    def _independent_groups(self) -> list[tuple[list[str], list[Check]]]:
        """The finest partition of the parameters that no constraint crosses, each part with its checks."""
        group_of = {name: {name} for name in self.parameters}
        for check in self.checks:
            merged = set().union(*(group_of[name] for name in check.reads))
            group_of |= dict.fromkeys(merged, merged)
        groups: list[tuple[list[str], list[Check]]] = []
        for name in self.parameters:
            if all(name not in names for names, _ in groups):
                names = [each for each in self.parameters if each in group_of[name]]
                groups.append((names, [each for each in self.cheapest if set(names).intersection(each.reads)]))
        return groups
