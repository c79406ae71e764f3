"""Drawings of a lineage: a tree of text, a graph for Graphviz, and one for Mermaid."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from evoflash.report.lineage import Change, Lineage, Member
from evoflash.report.tables import times, us

# Characters that Mermaid reads as syntax, or as HTML, within a quoted label; "#" comes first, as it begins an entity.
MERMAID_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "&": "#amp;"}


@dataclass(frozen=True)
class Step:
    """A line of the tree.

    Attributes:
        level: its depth in the tree.
        repeated: whether the tree has already shown this candidate and what is below it.
        elsewhere: whether it belongs to a different run than the lineage.
    """

    member: Member
    level: int
    repeated: bool
    elsewhere: bool

    @property
    def line(self) -> str:
        """The candidate as one line of text."""
        each = self.member
        run = f" of run {each.run}" if self.elsewhere else ""
        head = f"{each.candidate}{run} {each.family} by {each.operator}: {_result(each)}"
        if self.repeated:
            return f"{head} (see above)"
        return "; ".join([head, *(_from(change) for change in each.changes)])


def walk(lineage: Lineage, *, full: bool = False) -> Iterator[Step]:
    """The tree, depth first.

    Args:
        full: from the first ancestors of a run to their descendants, each below its first parent. Otherwise from the
            candidate back to its first ancestors; those that are shared are expanded once.
    """
    known = {each.candidate: each for each in lineage.candidates}
    below: dict[int, list[int]] = {key: [] for key in known}
    roots: list[int] = []
    for each in known.values():
        parents = [change.parent for change in each.changes]
        if not full:
            below[each.candidate] = parents
        elif parents:
            below[parents[0]].append(each.candidate)
        else:
            roots.append(each.candidate)
    entered: set[int] = set()
    waiting = [(key, 0) for key in reversed(roots if full else list(known)[:1])]
    while waiting:  # an explicit stack, since a lineage may be deeper than Python's recursion limit
        key, level = waiting.pop()
        yield Step(known[key], level, key in entered, known[key].run != lineage.run)
        if key not in entered:
            entered.add(key)
            waiting += [(each, level + 1) for each in reversed(below[key])]


def print_tree(lineage: Lineage, *, full: bool = False) -> None:
    """Prints the tree to standard output: drawn on a terminal, as indented lines when piped."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        for step in walk(lineage, full=full):
            print(f"{'  ' * step.level}{step.line}")
        return
    branch: list[Tree] = []
    for step in walk(lineage, full=full):
        node = Tree(Text(step.line))
        if step.level == 0 and branch:
            console.print(branch[0])
        del branch[step.level :]
        if branch:
            branch[-1].children.append(node)
        branch.append(node)
    if branch:
        console.print(branch[0])


def dot(lineage: Lineage) -> str:
    """The lineage in the DOT language, for Graphviz: parents above, the fastest or asked candidate with a thick frame.

    A candidate that failed has a dashed frame.
    """
    lines = ["digraph lineage {", '  node [shape=box, fontname="sans-serif"];', '  edge [fontname="sans-serif"];']
    for each in lineage.candidates:
        style = ", style=dashed" if each.p50_us is None else ""
        style += ", penwidth=3" if each.candidate == lineage.candidate else ""
        lines.append(f"  {each.candidate} [label={_dot_string(_label(each))}{style}];")
    for each in lineage.candidates:
        for change in each.changes:
            lines.append(f"  {change.parent} -> {each.candidate} [label={_dot_string(_words(change))}];")
    return "\n".join([*lines, "}"])


def mermaid(lineage: Lineage) -> str:
    """The lineage as a flowchart for Mermaid, as Markdown pages of GitHub and GitLab draw it."""
    lines = ["flowchart TD"]
    for each in lineage.candidates:
        lines.append(f'  c{each.candidate}["{_mermaid_text(_label(each))}"]')
    for each in lineage.candidates:
        for change in each.changes:
            lines.append(f'  c{change.parent} -->|"{_mermaid_text(_words(change))}"| c{each.candidate}')
    failed = [f"c{each.candidate}" for each in lineage.candidates if each.p50_us is None]
    lines += [f"  style {each} stroke-dasharray: 4" for each in failed]
    if lineage.candidate is not None:
        lines.append(f"  style c{lineage.candidate} stroke-width:4px")
    return "\n".join(lines)


def _label(each: Member) -> list[str]:
    return [f"{each.candidate} {each.family}", f"by {each.operator}", _result(each)]


def _words(change: Change) -> list[str]:
    speed = [f"{times(change.speedup)}"] if change.speedup is not None else []
    return [*(_genes(change) or ["nothing changed"]), *speed]


def _dot_string(lines: list[str]) -> str:
    """A quoted string of DOT, whose escapes for quotes, backslashes and line ends are those of JSON."""
    return json.dumps("\n".join(" ".join(each.split()) for each in lines), ensure_ascii=False)


def _mermaid_text(lines: list[str]) -> str:
    escaped = ("".join(MERMAID_ENTITIES.get(sign, sign) for sign in " ".join(each.split())) for each in lines)
    return "<br/>".join(escaped)


def _result(each: Member) -> str:
    return f"{us(each.p50_us)} us" if each.p50_us is not None else each.status


def _from(change: Change) -> str:
    speed = f", {times(change.speedup)}" if change.speedup is not None else ""
    return f"from {change.parent}: {', '.join(_genes(change)) or 'nothing changed'}{speed}"


def _genes(change: Change) -> list[str]:
    return [f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in change.genes.items()]


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
