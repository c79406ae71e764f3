"""Choices that are made at build time: what is never taken goes, what is always taken stands without its condition."""

from __future__ import annotations

from collections.abc import Iterator

from evoflash.flattening.cpp.declarations import declared, is_constexpr
from evoflash.flattening.cpp.errors import UnknownError
from evoflash.flattening.cpp.nodes import Node
from evoflash.flattening.cpp.program import Program
from evoflash.flattening.cpp.types import SPELLINGS
from evoflash.flattening.edits import Edit, balanced, begins_line, line_start, removal

# Statements that may stand alone where another statement asks for one.
ALONE = ("expression_statement", "return_statement", "break_statement", "continue_statement")
# Expressions that need no parentheses anywhere.
ATOMS = ("number_literal", "true", "false", "identifier", "qualified_identifier", "parenthesized_expression")


def edits(program: Program) -> Iterator[Edit]:
    """The outermost choices of a file that are known, as changes to its text."""
    pending = [program.syntax.tree]
    while pending:
        node = pending.pop()
        edit = None
        if node.type == "if_statement" and any(each.type == "constexpr" for each in node.children):
            edit = _if(program, node)
        elif node.type == "conditional_expression":
            edit = _conditional(program, node)
        elif node.type == "declaration":
            edit = _unused(program, node)
        if edit is not None:
            yield edit
        else:
            pending += node.children


def _function(node: Node) -> Node | None:
    """The function that a node stands in."""
    return next((each for each in node.ancestors() if each.type == "function_definition"), None)


def _if(program: Program, node: Node) -> Edit | None:
    function, condition = _function(node), node.get("condition")
    if function is None or function.broken or condition is None or condition.get("initializer") is not None:
        return None
    if any(each.type in ("labeled_statement", "case_statement") for each in node.walk()):
        return None
    text, syntax = program.syntax.text, program.syntax
    above = text[: line_start(text, node.start)].rstrip().rpartition("\n")[2].lstrip()
    if above.startswith("#pragma") and begins_line(text, node.start):
        return None  # it would be said of what comes to stand there
    try:
        taken = bool(program.value(condition.get("value")).number)
    except UnknownError:
        return None
    live = node.get("consequence") if taken else node.get("alternative")
    if live is not None and live.type == "else_clause":
        live = next(iter(live.named_children()), None)
        if live is None:
            return None
    if not balanced(syntax, node.start, node.end) or (live is not None and not balanced(syntax, live.start, live.end)):
        return None
    parent = node.parent
    assert parent is not None
    if parent.type == "compound_statement":
        return _in_block(program, node, live, parent)
    if live is None:
        if parent.type == "else_clause":
            return Edit(len(text[: parent.start].rstrip()), parent.end)
        return Edit(node.start, node.end, "{}")
    if live.type == "compound_statement" or live.type in ALONE:
        return Edit(node.start, node.end, syntax.of(live))
    if live.type == "if_statement" and parent.type == "else_clause":
        return Edit(node.start, node.end, syntax.of(live))
    return Edit(node.start, node.end, "{ " + syntax.of(live) + " }")


def _in_block(program: Program, node: Node, live: Node | None, block: Node) -> Edit | None:
    """The edit for a statement among others."""
    syntax, text = program.syntax, program.syntax.text
    if live is None:
        return removal(syntax, node.start, node.end)
    if live.type == "compound_statement" and not live.named_children():
        return removal(syntax, node.start, node.end)
    own_line = begins_line(text, node.start)
    first = line_start(text, node.start)
    indent = text[first : node.start] if own_line else ""
    if live.type != "compound_statement":
        if not own_line:
            return Edit(node.start, node.end, syntax.of(live))
        begin = line_start(text, live.start) if begins_line(text, live.start) else live.start
        return Edit(first, node.end, _shifted(program, begin, live.end, indent))
    if not _may_join(program, node, live, block):
        return Edit(node.start, node.end, syntax.of(live))
    begin, end = live.start + 1, live.end - 1
    if not own_line:
        inside = text[begin:end].strip()
        return Edit(node.start, node.end, inside if "\n" not in inside else syntax.of(live))
    end = len(text[:end].rstrip())
    return Edit(first, node.end, _shifted(program, begin, end, indent))


def _shifted(program: Program, start: int, end: int, indent: str) -> str:
    """Lines moved to an indentation; lines of the preprocessor and of raw strings stay where they are."""
    text, syntax = program.syntax.text, program.syntax
    fixed = [(each.start, each.end) for each in syntax.directives] + syntax.raw_strings
    lines, place = [], start
    for line in text[start:end].split("\n"):
        inside = place > start and any(begin < place < stop or begin == place for begin, stop in fixed)
        lines.append((line, inside))
        place += len(line) + 1
    while lines and not lines[0][0].strip():
        lines.pop(0)
    widths = [len(line) - len(line.lstrip()) for line, inside in lines if line.strip() and not inside]
    first_is_whole = begins_line(text, start) or not text[start:end].split("\n")[0].strip()
    if not first_is_whole and len(widths) > 1:
        widths = widths[1:]
    move = len(indent) - min(widths, default=0)
    moved = []
    for number, (line, inside) in enumerate(lines):
        if inside or not line.strip():
            moved.append(line if inside else "")
        elif number == 0 and not first_is_whole:
            moved.append(indent + line.strip())
        else:
            width = len(line) - len(line.lstrip())
            moved.append(" " * max(width + move, 0) + line.lstrip())
    return "\n".join(moved)


def _may_join(program: Program, node: Node, live: Node, block: Node) -> bool:
    """Whether the statements of a branch may stand in the block around it: no name of theirs is another's there."""
    syntax = program.syntax
    names: set[str] = set()
    for each in live.named_children():
        if each.type in ("using_declaration", "using_directive"):
            return False
        found = declared(each, syntax)
        if found and not _lives_quietly(program, each):
            return False
        if each.type == "declaration" and any(one.get("declarator") is not None and not found for one in [each]):
            return False  # structured bindings
        names.update(found)
    if not names:
        return True
    around = block.parent.start if block.parent is not None else block.start
    others = (*syntax.words_in(around, node.start), *syntax.words_in(node.end, block.end))
    return names.isdisjoint(others)


def _lives_quietly(program: Program, node: Node) -> bool:
    """Whether nothing happens at the end of a declared variable's life, so that it may live longer."""
    kind = node.get("type")
    if kind is not None and (kind.type == "primitive_type" or program.syntax.of(kind) in SPELLINGS):
        return True
    return not program.destroys


def _conditional(program: Program, node: Node) -> Edit | None:
    """A choice between two known values of one type; of other expressions, the type of the whole is not certain."""
    if any(each.broken for each in node.ancestors() if each.type in ("function_definition", "declaration")):
        return None
    one, two = node.get("consequence"), node.get("alternative")
    try:
        taken = program.value(node.get("condition")).number
        values = [program.value(each) for each in (one, two)]
    except UnknownError:
        return None
    chosen = one if taken else two
    if values[0].kind != values[1].kind or chosen is None or node.parent is None:
        return None
    text = program.syntax.of(chosen)
    alone = node.field == "default_value" or node.parent.type in ("init_declarator", "parenthesized_expression")
    if chosen.type not in ATOMS and not alone:
        text = f"({text})"
    return Edit(node.start, node.end, text)


def _unused(program: Program, node: Node) -> Edit | None:
    """A constant of a function that nothing reads."""
    function, syntax = _function(node), program.syntax
    names = declared(node, syntax)
    if function is None or function.broken or len(names) != 1 or node.parent is None:
        return None
    if node.parent.type != "compound_statement" or not balanced(syntax, node.start, node.end):
        return None
    if not is_constexpr(node, syntax) or syntax.words_in(function.start, function.end).count(names[0]) != 1:
        return None
    return removal(syntax, syntax.start_of(node), node.end)
