"""A search space: parameters, the constraints that make a genome valid, and the moves between valid genomes.

A space is declared in search_spaces/<family>.yaml and bound to one problem and one device, since what is valid
depends on both. Every genome that leaves here is valid: `sample`, `neighbours`, `mutate`, `crossover` and `repair`
never return another.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NoReturn

from evoflash.declaration import Constraint, Declaration
from evoflash.errors import SpaceError, unknown
from evoflash.expression import Expression, compile_expression
from evoflash.genome import Gene, Genome

REJECTION_TRIES = 200  # blind draws before the slower, complete search for a valid genome
EXPLAIN_DRAWS = 2000


@dataclass(frozen=True)
class Check:
    """A constraint ready to be evaluated.

    Attributes:
        derived: the derived names that it needs, in the order of their computation.
        reads: the parameters that it depends on.
        known: its truth by the values of `reads`. An evaluation costs some tens of microseconds and a search asks
            thousands of times for the same few values.
    """

    expression: Expression
    derived: tuple[str, ...]
    reads: tuple[str, ...]
    known: dict[tuple[Gene, ...], bool] = field(default_factory=dict, compare=False, repr=False)


class SearchSpace:
    """A declaration bound to a problem's and a device's facts."""

    def __init__(self, declaration: Declaration, problem: Mapping[str, Any], device: Mapping[str, Any]):
        self.family = declaration.family
        self.parameters = declaration.parameters
        self.seeds = declaration.seeds
        self._facts = {"problem": SimpleNamespace(**problem), "device": SimpleNamespace(**device)}
        where = f"search space {declaration.family}"
        self._derived = {name: compile_expression(str(text), where) for name, text in declaration.derived.items()}
        self._constraints = [(each, compile_expression(each.expr, where)) for each in declaration.constraints]
        self._derived_values: dict[str, tuple[dict[tuple[Gene, ...], Any], tuple[str, ...]]] = {
            name: ({}, self._check_of(expression).reads) for name, expression in self._derived.items()
        }
        self._schedule = [self._check_of(expression) for _, expression in self._constraints]
        self._domains = self._filtered_domains()
        self._groups = self._independent_groups()

    # What is valid.

    def derived(self, genome: Mapping[str, Gene]) -> dict[str, Any]:
        """The space's named expressions for a genome, e.g. the shared memory that it takes."""
        names = {**self._facts, **genome}
        for name, expression in self._derived.items():
            names[name] = expression(names)
        return {name: names[name] for name in self._derived}

    def violations(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """The constraints that a complete genome breaks.

        Raises:
            SpaceError: when genes are missing, unknown, or outside their values.
        """
        for name in genome:
            if name not in self.parameters:
                raise SpaceError(f"family {self.family}: {unknown('parameter', name, self.parameters)}")
        for name, parameter in self.parameters.items():
            if name not in genome:
                raise SpaceError(f"family {self.family}: parameter {name!r} is missing; give one of {parameter.values}")
            if not parameter.admits(genome[name]):
                raise SpaceError(f"family {self.family}: {name}={genome[name]!r} is none of {parameter.values}")
        return self._broken(genome)

    def is_valid(self, genome: Mapping[str, Gene]) -> bool:
        """Whether a genome of this space's genes satisfies every constraint."""
        return self._holds(self._schedule, genome)

    def explain(self, rng: random.Random) -> list[tuple[Constraint, float]]:
        """Each constraint with the share of blind draws that it alone excludes, the hardest first."""
        counts = dict.fromkeys(range(len(self._constraints)), 0)
        for _ in range(EXPLAIN_DRAWS):
            names = {**self._facts, **self._draw(rng)}
            for name, expression in self._derived.items():
                names[name] = expression(names)
            for number, (_, expression) in enumerate(self._constraints):
                counts[number] += not expression(names)
        shares = [(self._constraints[number][0], count / EXPLAIN_DRAWS) for number, count in counts.items()]
        return sorted(shares, key=lambda pair: -pair[1])

    # Genomes and moves between them.

    def sample(self, rng: random.Random) -> Genome:
        """A valid genome, drawn uniformly: each group of parameters that no constraint ties to the others by itself.

        A group in which blind draws find nothing is searched completely, in random order.

        Raises:
            SpaceError: when no genome is valid; the message says which constraint excludes what.
        """
        self._require_possible(rng)
        genome: dict[str, Gene] = {}
        for names, checks in self._groups:
            genome |= self._draw_group(names, checks, rng)
        return Genome(genome)

    def require_valid_genomes(self, rng: random.Random) -> None:
        """Raises SpaceError, saying which constraint excludes what, when nothing is valid here."""
        self.sample(rng)

    def genomes(self) -> Iterator[Genome]:
        """Every valid genome, in the order of the declaration."""
        for values in self._search(None, {}, list(self.parameters), self._schedule):
            yield Genome(values)

    def neighbours(self, genome: Genome) -> list[Genome]:
        """The valid genomes one move away: an ordinal one step, a categorical or flag any other value."""
        found = []
        for name, parameter in self.parameters.items():
            values = parameter.values
            place = parameter.place(genome[name])
            steps = (place - 1, place + 1) if parameter.kind == "ordinal" else range(len(values))
            for step in steps:
                if step != place and 0 <= step < len(values):
                    changed = genome.replace(**{name: values[step]})
                    if self.is_valid(changed):
                        found.append(changed)
        return found

    def mutate(self, genome: Genome, rng: random.Random, genes: int = 1) -> Genome:
        """A valid genome with about this many genes changed; ordinals mostly by one step, sometimes by two."""
        changed = dict(genome)
        movable = [name for name, parameter in self.parameters.items() if len(parameter.values) > 1]
        for name in rng.sample(movable, min(genes, len(movable))):
            values = self.parameters[name].values
            place = self.parameters[name].place(genome[name])
            if self.parameters[name].kind == "ordinal":
                reach = 2 if rng.random() < 0.3 else 1
                others = [step for step in (place - reach, place + reach) if 0 <= step < len(values)]
                others = others or [step for step in (place - 1, place + 1) if 0 <= step < len(values)]
            else:
                others = [step for step in range(len(values)) if step != place]
            changed[name] = values[rng.choice(others)]
        return self.repair(changed, rng)

    def crossover(self, first: Genome, second: Genome, rng: random.Random) -> Genome:
        """A valid genome with each gene from either parent."""
        return self.repair({name: rng.choice((first, second))[name] for name in self.parameters}, rng)

    def repair(self, values: Mapping[str, Gene], rng: random.Random) -> Genome:
        """The values themselves if they are valid, else a valid genome that keeps as many of them as it can.

        Genes that are missing or unknown here (from another family) are drawn or dropped, so this also moves a genome
        between families. Each group of tied parameters is repaired by itself: first one gene is freed, then two,
        those that broken constraints read first; a group that cannot be saved is drawn anew.
        """
        self._require_possible(rng)
        genome: dict[str, Gene] = {}
        for names, checks in self._groups:
            part: dict[str, Gene] = {
                name: values[name]
                if parameter.admits(values.get(name))
                else rng.choice(self._domains[name] or parameter.values)
                for name, parameter in ((name, self.parameters[name]) for name in names)
            }
            genome |= part if self._holds(checks, part) else self._repair_group(part, checks, rng)
        return Genome(genome)

    # How.

    def _draw(self, rng: random.Random) -> dict[str, Gene]:
        return {name: rng.choice(parameter.values) for name, parameter in self.parameters.items()}

    def _require_possible(self, rng: random.Random) -> None:
        """The constraints that no gene can mend, on the problem or the device alone."""
        if not self._holds([check for check in self._schedule if not check.reads], {}):
            self._raise_empty(rng)

    def _draw_group(self, names: Sequence[str], checks: Sequence[Check], rng: random.Random) -> dict[str, Gene]:
        for _ in range(REJECTION_TRIES):
            drawn = {name: rng.choice(self._domains[name] or self._raise_empty(rng)) for name in names}
            if self._holds(checks, drawn):
                return drawn
        return next(self._search(rng, {}, names, checks), None) or self._raise_empty(rng)

    def _repair_group(self, part: Mapping[str, Gene], checks: Sequence[Check], rng: random.Random) -> dict[str, Gene]:
        broken = [check.reads for check in checks if not self._holds([check], part)]
        suspects = sorted(set().union(*broken))
        rng.shuffle(suspects)
        pairs = list(itertools.combinations(suspects, 2))
        rng.shuffle(pairs)
        for freed in [*((name,) for name in suspects), *pairs]:
            kept = {name: value for name, value in part.items() if name not in freed}
            found = next(self._search(rng, kept, list(part), checks), None)
            if found is not None:
                return found
        return self._draw_group(list(part), checks, rng)

    def _broken(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        broken: list[Constraint] = []
        for (constraint, _), check in zip(self._constraints, self._schedule, strict=True):
            try:
                holds = self._holds([check], genome)
            except SpaceError:
                if not broken:  # else a broken constraint was this one's guard
                    raise
                continue
            if not holds:
                broken.append(constraint)
        return broken

    def _check_of(self, expression: Expression) -> Check:
        """The expression, the derived names to compute before it, and the parameters that it depends on."""
        wanted: set[str] = set()
        queue = list(expression.names)
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue += self._derived[name].names if name in self._derived else ()
        derived = tuple(name for name in self._derived if name in wanted)
        return Check(expression, derived, tuple(name for name in self.parameters if name in wanted))

    def _filtered_domains(self) -> dict[str, list[Gene]]:
        """Each parameter's values, less those that a constraint on it alone excludes."""
        domains: dict[str, list[Gene]] = {}
        for name, parameter in self.parameters.items():
            checks = [check for check in self._schedule if set(check.reads) <= {name}]
            domains[name] = [value for value in parameter.values if self._holds(checks, {name: value})]
        return domains

    def _independent_groups(self) -> list[tuple[list[str], list[Check]]]:
        """The finest partition of the parameters that no constraint crosses, each group with its constraints."""
        group_of = {name: {name} for name in self.parameters}
        for check in self._schedule:
            merged = set().union(*(group_of[name] for name in check.reads))
            group_of |= dict.fromkeys(merged, merged)
        groups: list[tuple[list[str], list[Check]]] = []
        for name in self.parameters:
            if all(name not in names for names, _ in groups):
                names = [each for each in self.parameters if each in group_of[name]]
                groups.append((names, [check for check in self._schedule if group_of[name].intersection(check.reads)]))
        return groups

    def _holds(self, checks: Sequence[Check], genes: Mapping[str, Gene]) -> bool:
        """Whether all checks hold for genes that include all that they read."""
        for check in checks:
            read = tuple(genes[name] for name in check.reads)
            if read not in check.known:
                check.known[read] = self._evaluate(check, genes)
            if not check.known[read]:
                return False
        return True

    def _evaluate(self, check: Check, genes: Mapping[str, Gene]) -> bool:
        scope = {**self._facts, **genes}
        for name in check.derived:
            known, reads = self._derived_values[name]
            read = tuple(genes[each] for each in reads)
            if read not in known:
                known[read] = self._derived[name](scope)
            scope[name] = known[read]
        return bool(check.expression(scope))

    def _search(
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
            if not self._holds(due[depth], genes):
                return
            if depth == len(order):
                yield {name: genes[name] for name in names}
                return
            values = self._domains[order[depth]]
            for value in values if rng is None else rng.sample(values, len(values)):
                yield from extend(depth + 1, {**genes, order[depth]: value})

        yield from extend(len(kept), dict(kept))

    def _raise_empty(self, rng: random.Random) -> NoReturn:
        lines = [
            f"  excludes {share:4.0%} of all genomes: {constraint.expr}  ({constraint.why})"
            for constraint, share in self.explain(rng)
            if share > 0
        ]
        problem, device = self._facts["problem"], self._facts["device"]
        raise SpaceError(
            f"search space {self.family} admits no genome here (problem {vars(problem)}, device {vars(device)}):\n"
            + "\n".join(lines)
            + "\nchoose another family, or widen the parameters that the first line reads"
        )
