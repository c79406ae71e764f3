"""What is left to tidy: namespaces that are empty or follow themselves, and blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.syntax import Syntax
from evoflash.flattening.edits import Edit, begins_line, comments_before, line_start, removal


def edits(syntax: Syntax) -> Iterator[Edit | tuple[Edit, ...]]:
    """Removes empty namespaces, and closes none to open it again at once."""
    yield from _namespaces(syntax, syntax.tree)


def _namespaces(syntax: Syntax, scope: Node) -> Iterator[Edit | tuple[Edit, ...]]:
    text = syntax.text
    children = [each for each in scope.children if each.type != "comment"]
    for number, node in enumerate(children):
        body = node.get("body")
        if node.type != "namespace_definition" or body is None or node.broken:
            continue
        if not syntax.plain[body.start + 1 : body.end - 1].strip():
            if not _named_elsewhere(syntax, node):
                yield _emptied(syntax, node)
            continue
        yield from _left_over(syntax, body)
        following = children[number + 1] if number + 1 < len(children) else None
        if following is not None and _continues(syntax, node, following):
            opening = following.get("body")
            assert opening is not None
            closing = re.compile(r"\}[ \t]*(?://[^\n]*)?\n?").match(text, body.end - 1)
            assert closing is not None
            start = line_start(text, following.start)
            yield Edit(node.end - 1, closing.end()), Edit(start, text.find("\n", opening.start) + 1)
            continue
        yield from _namespaces(syntax, body)


def _left_over(syntax: Syntax, body: Node) -> Iterator[Edit]:
    """Comments at the end of a namespace, which spoke of what has gone."""
    end = body.end - 1
    begin = end
    for first, last in reversed(syntax.comments):
        if last <= body.start or syntax.text[last:begin].strip() or not begins_line(syntax.text, first):
            if last <= begin:
                break
            continue
        begin = first
    if begin < end and begins_line(syntax.text, end):
        yield Edit(line_start(syntax.text, begin), line_start(syntax.text, end))


def _continues(syntax: Syntax, node: Node, following: Node) -> bool:
    """Whether the next namespace is the same one, with comments between them at most."""
    if following.type != "namespace_definition" or following.broken or following.get("body") is None:
        return False
    one, two = (each.get("name") for each in (node, following))
    if (syntax.of(one) if one else "") != (syntax.of(two) if two else ""):
        return False
    opening = following.get("body")
    assert opening is not None
    heads = [syntax.plain[each.start : body.start].split() for each, body in _with_bodies(node, following)]
    first_line = syntax.text[line_start(syntax.text, following.start) : opening.start + 1]
    rest = syntax.text[opening.start + 1 : syntax.text.find("\n", opening.start)]
    return (
        heads[0] == heads[1]
        and not syntax.plain[node.end : following.start].strip()
        and syntax.plain[: node.end - 1].endswith("\n")
        and first_line.lstrip().startswith(("namespace", "inline namespace"))
        and not rest.strip()
    )


def _with_bodies(*nodes: Node) -> Iterator[tuple[Node, Node]]:
    for node in nodes:
        body = node.get("body")
        assert body is not None
        yield node, body


def _named_elsewhere(syntax: Syntax, node: Node) -> bool:
    name = node.get("name")
    if name is None:
        return False
    inside = syntax.words_in(node.start, node.end)
    return any(syntax.words.count(word) > inside.count(word) for word in re.findall(r"\w+", syntax.of(name)))


def _emptied(syntax: Syntax, node: Node) -> Edit:
    """Removes an empty namespace, and the comment that stood above it for a whole header."""
    edit = removal(syntax, node.start, node.end)
    above = syntax.text[: edit.start].rstrip()
    last = next((begin for begin, end in syntax.comments if end == len(above)), None)
    if last is None or syntax.text[len(above) : edit.start].count("\n") != 2 or not begins_line(syntax.text, last):
        return edit
    start = comments_before(syntax, last)
    return Edit(start, edit.end) if start > 0 else edit


def spaced(syntax: Syntax) -> str:
    """The text with no two blank lines in a row, and none at the beginning or end of a block; raw strings stay."""
    lines: list[str] = []
    place = 0
    for line in syntax.text.splitlines(keepends=True):
        inside = any(start < place < end for start, end in syntax.raw_strings)
        place += len(line)
        if not inside and not line.strip():
            before = lines[-1].rstrip() if lines else ""
            if not before or (before.endswith("{") and not before.startswith("namespace")):
                continue
            line = "\n"
        elif not inside and re.match(r"\s+\}", line) and lines and not lines[-1].strip():
            lines.pop()
        elif not inside and line.startswith("namespace") and lines and lines[-1].startswith("}"):
            lines.append("\n")
        lines.append(line)
    return "".join(lines).rstrip("\n") + "\n"
