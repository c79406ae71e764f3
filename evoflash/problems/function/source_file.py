"""A problem's file, executed as it is, or with other numbers in place of those that it assigns at its top."""

from __future__ import annotations

import ast
import hashlib
import linecache
import re
import sys
import types
from collections.abc import Mapping
from typing import Any

from evoflash.problems.function.signature import Size

NO_SIZES: Mapping[str, Size] = types.MappingProxyType({})


class ProblemError(Exception):
    """A problem's file cannot be used; the message says why, and what to do."""


def executed(file: str, source: str, given: Mapping[str, Size] = NO_SIZES) -> types.ModuleType:
    """The file's module; `given` are numbers that it has in place of its own."""
    digest = hashlib.sha256(f"{source}{sorted(given.items())}".encode()).hexdigest()[:16]
    module = types.ModuleType(f"evoflash_problem_{digest}")
    module.__file__ = file
    # So that tracebacks, `inspect` and torch.compile find the lines.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module
    exec(compile(_with_numbers(source, file, given), file, "exec", dont_inherit=True), vars(module))
    return module


def assigned_numbers(source: str, names: Mapping[str, Any]) -> dict[str, Size]:
    """The numbers that a file assigns at its top without reading other names; those that it computes follow them."""
    found: dict[str, Size] = {}
    for statement in ast.parse(source).body:
        for name in _assigned(statement):
            value = names.get(name)
            if isinstance(value, bool | int | float):
                found[name] = value
            elif isinstance(value, tuple) and all(isinstance(each, bool | int | float) for each in value):
                found |= {f"{name}_{place}": each for place, each in enumerate(value)}
    return found


def _assigned(statement: ast.stmt) -> list[str]:
    """The names that a statement assigns a value without names and calls in it: `h = w = 2 * 64`, or `h, w = 8, 16`."""
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign):
        targets, value = [statement.target], statement.value
    else:
        return []
    if value is None or any(isinstance(each, ast.Name | ast.Call | ast.Attribute) for each in ast.walk(value)):
        return []
    flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [each.id for each in flat if isinstance(each, ast.Name) and not each.id.startswith("_")]


def with_numbers(source: str, given: Mapping[str, Size]) -> str:
    """The file's text, in which numbers other than its own are assigned once more, right after their own statement."""
    lines, tree = source.splitlines(), ast.parse(source)
    names = _all_assigned(tree)
    for statement in reversed(tree.body):
        changed = {name: value for name, value in given.items() if _own_number(statement, name) != value}
        lines[statement.end_lineno : statement.end_lineno] = _additions(statement, names, changed)
    return "\n".join(lines) + "\n"


def _own_number(statement: ast.stmt, name: str) -> Size | None:
    """What a statement assigns to a name, or to an element of a tuple NAME_0, NAME_1 …; None if it does neither."""
    if not _assigned(statement) or not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return None
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        return None
    if name in _assigned(statement):
        return value
    own, _, place = name.rpartition("_")
    is_element = (
        own in _assigned(statement) and isinstance(value, tuple) and place.isdigit() and int(place) < len(value)
    )
    return value[int(place)] if is_element else None


def _with_numbers(source: str, file: str, given: Mapping[str, Size]) -> ast.Module:
    """The file, in which each name of `given` is assigned once more, right after its own statement."""
    tree = ast.parse(source, file)
    names = _all_assigned(tree)
    body: list[ast.stmt] = []
    for statement in tree.body:
        body.append(statement)
        for line in _additions(statement, names, given):
            body += [ast.copy_location(each, statement) for each in ast.parse(line).body]
    return ast.fix_missing_locations(ast.Module(body, tree.type_ignores))


def _all_assigned(tree: ast.Module) -> set[str]:
    return {name for statement in tree.body for name in _assigned(statement)}


def _additions(statement: ast.stmt, names: set[str], given: Mapping[str, Size]) -> list[str]:
    """What assigns the given numbers to the names of a statement, or to elements of them that are tuples."""
    added: list[str] = []
    for name in _assigned(statement):
        added += [f"{name} = {given[name]!r}"] if name in given else []
        for element in (each for each in given if each not in names and re.fullmatch(rf"{name}_\d+", each)):
            place = int(element.removeprefix(f"{name}_"))
            added.append(f"{name} = (*{name}[:{place}], {given[element]!r}, *{name}[{place + 1}:])")
    return added
