"""Valid genomes as a decision diagram, from which they are drawn uniformly even when few genomes are valid.

Parameters are assigned one after the other. The remaining choices depend only on those values that later constraints
read, so prefixes that agree in these values share a node (a multi-valued decision diagram: Srinivasan et al., ICCAD
1990). Each edge stores the number of complete genomes below it.

A constraint that reads many parameters multiplies the nodes. The widest constraints are therefore left out: drawn
genomes satisfy all others, and the caller rejects those that violate the widest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

from evoflash.core.genome import Gene

MAX_READS = 6  # constraints that read more parameters are left out of the diagram
MAX_EDGES = 200_000  # beyond this, the diagram is rebuilt without the widest of its constraints


class HasReads(Protocol):
    """A constraint."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The parameters that it depends on."""
        ...


C = TypeVar("C", bound=HasReads)


class Edge(NamedTuple):  # cheaper to make than a frozen dataclass, and there are many
    """A value of a node's parameter, the next node, and the number of genomes below this edge and those before it."""

    value: Gene
    child: int
    total: int


Nodes = list[list[Edge]]  # the first node is the end of a path; nodes without valid genomes have no edges


class Diagram:
    """A set of genomes.

    Args:
        order: the parameters, in the order of their assignment.
        nodes: the nodes by number.
        root: the number of the root.
    """

    def __init__(self, order: Sequence[str], nodes: Nodes, root: int):
        self._order = order
        self._nodes = nodes
        self._root = root

    @property
    def count(self) -> int:
        """The number of genomes; not `__len__`, which is limited to 2^63."""
        return count_below(self._nodes, self._root)

    def draw(self, rng: random.Random) -> dict[str, Gene]:
        """A uniformly random genome; the set must not be empty."""
        place, node = rng.randrange(self.count), self._root
        genes: dict[str, Gene] = {}
        for name in self._order:
            before = 0
            for edge in self._nodes[node]:
                if place < edge.total:
                    genes[name], node = edge.value, edge.child
                    place -= before
                    break
                before = edge.total
        return genes

    def restricted(self, kept: Mapping[str, Gene]) -> Diagram:
        """The subset of genomes that have these genes."""
        nodes: Nodes = [[]]
        known = {0: 0}

        def copied(depth: int, node: int) -> int:
            if node not in known:
                name = self._order[depth]
                wanted = (type(kept[name]), kept[name]) if name in kept else None
                edges = [each for each in self._nodes[node] if wanted in (None, (type(each.value), each.value))]
                known[node] = add_node(nodes, ((edge.value, copied(depth + 1, edge.child)) for edge in edges))
            return known[node]

        root = copied(0, self._root)
        return Diagram(self._order, nodes, root)


class TooLargeError(Exception):
    """The diagram exceeds the limit on its edges."""


def build(
    domains: Mapping[str, Sequence[Gene]],
    constraints: Sequence[C],
    may_hold: Callable[[Sequence[C], Mapping[str, Gene]], bool],
) -> Diagram:
    """Builds the diagram of the genomes that satisfy all constraints except the widest.

    Args:
        domains: the values of each parameter.
        may_hold: whether none of the given constraints fails; the genes include all that they read.
    """
    for widest in range(MAX_READS, 0, -1):
        inside = [each for each in constraints if len(each.reads) <= widest]
        try:
            return _built(domains, inside, may_hold, MAX_EDGES)
        except TooLargeError:
            continue
    return _built(domains, [], may_hold, sum(map(len, domains.values())))  # one node per parameter


def _built(
    domains: Mapping[str, Sequence[Gene]],
    constraints: Sequence[C],
    may_hold: Callable[[Sequence[C], Mapping[str, Gene]], bool],
    max_edges: int,
) -> Diagram:
    order = _order(list(domains), constraints)
    checks = checks_by_place(order, constraints)
    read_later: list[set[str]] = [set() for _ in range(len(order) + 1)]
    for depth in reversed(range(len(order))):
        read_later[depth] = read_later[depth + 1].union(*(each.reads for each in checks[depth]))
    live = [picker([name for name in order[:depth] if name in read_later[depth]]) for depth in range(len(order))]
    nodes: Nodes = [[]]
    known: dict[tuple[int, Any], int] = {}
    genes: dict[str, Gene] = {}
    places: dict[str, int] = {}  # of these genes in their domains: 1 equals True
    tried = 0

    def node(depth: int) -> int:
        nonlocal tried
        if depth == len(order):
            return 0
        key = (depth, live[depth](places))
        if key not in known:
            name, children = order[depth], []
            for place, value in enumerate(domains[name]):
                tried += 1
                if tried > max_edges:
                    raise TooLargeError
                genes[name], places[name] = value, place
                if may_hold(checks[depth], genes):
                    children.append((value, node(depth + 1)))
            genes.pop(name, None)
            places.pop(name, None)
            known[key] = add_node(nodes, children)
        return known[key]

    root = node(0)
    return Diagram(order, nodes, root)


def add_node(nodes: Nodes, children: Iterable[tuple[Gene, int]]) -> int:
    """Adds a node with these values and children, except empty children; returns its number."""
    edges: list[Edge] = []
    total = 0
    for value, child in children:
        count = count_below(nodes, child)
        if count:
            total += count
            edges.append(Edge(value, child, total))
    nodes.append(edges)
    return len(nodes) - 1


def count_below(nodes: Nodes, node: int) -> int:
    """The number of genomes below a node."""
    if node == 0:
        return 1
    return nodes[node][-1].total if nodes[node] else 0


def picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """A function for what a mapping has under these names: of one name the value, otherwise a tuple."""
    return itemgetter(*names) if names else _nothing


def _nothing(_: Mapping[str, Any]) -> tuple[()]:
    return ()


def checks_by_place(order: Sequence[str], constraints: Sequence[C]) -> list[list[C]]:
    """For each place of an order, the constraints that can be checked there first; others are left out."""
    places: list[list[C]] = [[] for _ in order]
    for each in constraints:
        read = [order.index(name) for name in each.reads if name in order]
        if read:
            places[max(read)].append(each)
    return places


def _order(names: Sequence[str], constraints: Sequence[HasReads]) -> list[str]:
    """An order in which constraints can be checked early: greedily, the one with the fewest missing parameters next."""
    order: list[str] = []
    waiting = list(constraints)
    while waiting:
        nearest = min(waiting, key=lambda each: len(set(each.reads).difference(order)))
        order += [name for name in nearest.reads if name not in order]
        waiting = [each for each in waiting if not set(each.reads) <= set(order)]
    return order + [name for name in names if name not in order]
