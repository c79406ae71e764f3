"""Valid genomes as a decision diagram: one is drawn uniformly in a walk, however few of all genomes are valid.

Parameters are given values one after the other; what remains to be decided depends only on those values that later
constraints read, so prefixes that agree in these share a node (a multi-valued decision diagram: Srinivasan and others,
ICCAD 1990). Each edge knows how many complete genomes lie below it.

A constraint that reads many parameters multiplies the nodes, so the widest stay outside: what is drawn satisfies the
others, and the caller rejects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from evoflash.core.genome import Gene

WIDEST = 6  # parameters that a constraint inside may read
MOST_EDGES = 200_000  # a diagram of more is built anew with the widest of its constraints outside


class Reader(Protocol):
    """A constraint."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The parameters that it depends on."""
        ...


C = TypeVar("C", bound=Reader)


@dataclass(frozen=True)
class Edge:
    """A value of a node's parameter, the node that follows, and the genomes below this edge and those before it."""

    value: Gene
    child: int
    total: int


Nodes = list[list[Edge]]  # those that lead to no genome have no edges; the first is the end, where all is decided


class Diagram:
    """A set of genomes.

    Args:
        order: the parameters as they are decided.
        nodes: by number.
        root: the number of the first parameter's node.
    """

    def __init__(self, order: Sequence[str], nodes: Nodes, root: int):
        self._order = order
        self._nodes = nodes
        self._root = root

    @property
    def count(self) -> int:
        """How many genomes there are: no `len`, which ends at 2^63."""
        return below(self._nodes, self._root)

    def draw(self, rng: random.Random) -> dict[str, Gene]:
        """One of them, each as likely as any other; there must be one."""
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

    def given(self, kept: Mapping[str, Gene]) -> Diagram:
        """Those of them that have these genes."""
        nodes: Nodes = [[]]
        known = {0: 0}

        def copied(depth: int, node: int) -> int:
            if node not in known:
                name = self._order[depth]
                wanted = (type(kept[name]), kept[name]) if name in kept else None
                edges = [each for each in self._nodes[node] if wanted in (None, (type(each.value), each.value))]
                known[node] = added(nodes, ((edge.value, copied(depth + 1, edge.child)) for edge in edges))
            return known[node]

        root = copied(0, self._root)
        return Diagram(self._order, nodes, root)


class TooLargeError(Exception):
    """More edges than are worth it."""


def build(
    domains: Mapping[str, Sequence[Gene]],
    constraints: Sequence[C],
    may_hold: Callable[[Sequence[C], Mapping[str, Gene]], bool],
) -> Diagram:
    """The genomes that satisfy all constraints but the widest.

    Args:
        domains: each parameter's values.
        may_hold: whether none of some constraints fails for genes that include all that they read.
    """
    for widest in range(WIDEST, 0, -1):
        inside = [each for each in constraints if len(each.reads) <= widest]
        try:
            return _built(domains, inside, may_hold, MOST_EDGES)
        except TooLargeError:
            continue
    return _built(domains, [], may_hold, sum(map(len, domains.values())))  # one node for each parameter


def _built(
    domains: Mapping[str, Sequence[Gene]],
    constraints: Sequence[C],
    may_hold: Callable[[Sequence[C], Mapping[str, Gene]], bool],
    most_edges: int,
) -> Diagram:
    order = _order(list(domains), constraints)
    checks = due(order, constraints)
    read_later: list[set[str]] = [set() for _ in range(len(order) + 1)]
    for depth in reversed(range(len(order))):
        read_later[depth] = read_later[depth + 1].union(*(each.reads for each in checks[depth]))
    live = [[name for name in order[:depth] if name in read_later[depth]] for depth in range(len(order))]
    nodes: Nodes = [[]]
    known: dict[tuple[int, tuple[tuple[type, Gene], ...]], int] = {}
    genes: dict[str, Gene] = {}
    tried = 0

    def node(depth: int) -> int:
        nonlocal tried
        if depth == len(order):
            return 0
        key = (depth, tuple((type(genes[name]), genes[name]) for name in live[depth]))
        if key not in known:
            name, children = order[depth], []
            for value in domains[name]:
                tried += 1
                if tried > most_edges:
                    raise TooLargeError
                genes[name] = value
                if may_hold(checks[depth], genes):
                    children.append((value, node(depth + 1)))
            genes.pop(name, None)
            known[key] = added(nodes, children)
        return known[key]

    root = node(0)
    return Diagram(order, nodes, root)


def added(nodes: Nodes, children: Iterable[tuple[Gene, int]]) -> int:
    """The number of a new node with these values and children, less those below which there is nothing."""
    edges: list[Edge] = []
    total = 0
    for value, child in children:
        count = below(nodes, child)
        if count:
            total += count
            edges.append(Edge(value, child, total))
    nodes.append(edges)
    return len(nodes) - 1


def below(nodes: Nodes, node: int) -> int:
    """How many genomes there are below a node."""
    if node == 0:
        return 1
    return nodes[node][-1].total if nodes[node] else 0


def due(order: Sequence[str], constraints: Sequence[C]) -> list[list[C]]:
    """The constraints that can be checked at each place of an order, and not before; those on other names are not."""
    places: list[list[C]] = [[] for _ in order]
    for each in constraints:
        read = [order.index(name) for name in each.reads if name in order]
        if read:
            places[max(read)].append(each)
    return places


def _order(names: Sequence[str], constraints: Sequence[Reader]) -> list[str]:
    """Names so that constraints can be checked early: always the one next that misses fewest."""
    order: list[str] = []
    waiting = list(constraints)
    while waiting:
        nearest = min(waiting, key=lambda each: len(set(each.reads).difference(order)))
        order += [name for name in nearest.reads if name not in order]
        waiting = [each for each in waiting if not set(each.reads) <= set(order)]
    return order + [name for name in names if name not in order]
