"""The file of a new problem."""

from __future__ import annotations

import ast
from pathlib import Path

from evoflash.scaffold.files import render, require_name, write


def write_problem(name: str, folder: Path) -> Path:
    """Writes a file with a function of this name, and all that a file may say; returns its path.

    Raises:
        UsageError: for a name that cannot be one, and a file that exists.
    """
    require_name("problem", name)
    path = folder / f"{name}.py"
    write({path: render("problem.py.j2", name=name)})
    return path


def is_as_written(name: str, source: str) -> bool:
    """Whether the function in a file is still the one that `write_problem` wrote."""
    return _function(name, source) == _function(name, render("problem.py.j2", name=name))


def _function(name: str, source: str) -> str | None:
    functions = (each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef) and each.name == name)
    return next((ast.dump(each) for each in functions), None)
