"""Every error that a user may see, read from the code: `python -m tests.error_table > docs/errors.md`.

An error's message ends with what to do, after its last semicolon or line. So the table is generated from the messages
themselves, with ‹names› as placeholders, and a test compares it with the code.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path

from evoflash import errors
from evoflash.cli import kernels
from evoflash.store import engine

PACKAGE = Path(errors.__file__).parent
CLASSES = {
    name: each
    for module in (errors, kernels)
    for name, each in inspect.getmembers(module, inspect.isclass)
    if issubclass(each, errors.EvoflashError)
}
CLASSES["ProblemError"] = errors.UsageError  # what a worker says of a problem's file, and the driver raises
NEAREST = "take one of the names that the message gives"

# Messages whose advice is part of a placeholder, by how they begin.
FILLED_IN = {
    "‹where›setting ‹_first›": "fix the setting that it names: see `evoflash --help`",
    "effort ‹name›‹where›: ‹_first›": "fix configs/effort.yaml or the option that it names",
    "strategy ‹base›: ": "fix the setting after the colon: see `evoflash search --help`",
    "no search can run here": "do what the table of `evoflash doctor` says",
    "shape ‹where›": "write b=1,h=8,s=512,d=64 and optionally kv=, t=, dtype=fp16|bf16|fp32, scale=, causal",
    "shape ‹text›": "write b=1,h=8,s=512,d=64 and optionally kv=, t=, dtype=fp16|bf16|fp32, scale=, causal",
    "no ‹name› found": "install the compiler that it names, or set CXX or CUDA_HOME",
}

HEAD = """\
# Errors

Every error that evoflash reports: one line on standard error, `evoflash: ` followed by the message, and an exit code
(1: nothing correct, 2: usage, 3: the environment). ‹Names› are placeholders. A failed candidate is not an error;
`evoflash show CANDIDATE` prints why it failed. This page is generated from the code by
`python -m tests.error_table > docs/errors.md`, and a test checks that it is up to date.

| error | exit | what to do |
|---|---|---|
"""


@dataclass(frozen=True, order=True)
class Row:
    """One error."""

    exit_code: int
    message: str
    advice: str


def rows() -> list[Row]:
    """All errors without duplicates, sorted by exit code and message."""
    found: set[Row] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= set(_rows_of(node))
    return sorted(found)


def _rows_of(call: ast.Call) -> list[Row]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name == "unknown" and isinstance(call.args[0], ast.Constant):
        return [Row(2, f"unknown {call.args[0].value} ‹name›", NEAREST)]
    if name not in CLASSES or not call.args:
        return []
    text = " ".join(_text(call.args[0]).split())
    if text == "‹reason›":  # a ProblemError's, which has a row of its own
        return []
    code = CLASSES[name].exit_code
    if text.endswith("‹words›; ‹advice›"):
        begin = text.removesuffix("‹words›; ‹advice›")
        advices = [(", ".join(signs), advice) for signs, advice in engine._ADVICE]
        return [Row(code, f"{begin}… {signs} …", advice) for signs, advice in [*advices, ("(another)", engine._CHECK)]]
    message, advice = _divided(text)
    return [Row(code, message, advice)]


def _divided(text: str) -> tuple[str, str]:
    for begin, advice in FILLED_IN.items():
        if text.startswith(begin):
            return text.rpartition("; ")[0] or text, advice
    if "‹unknown " in text:
        return text, NEAREST
    message, _, advice = text.rpartition("; ")
    if not message and " choose " in text:
        message, _, advice = text.partition(" choose ")
        advice = f"choose {advice}"
    return message or text, advice if message else ""


def _text(node: ast.expr) -> str:
    """A message as it is in the code, with ‹names› as placeholders."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.FormattedValue(value=value):
            return _text(value) if isinstance(value, ast.Constant) else f"‹{_name(value)}›"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return f"‹{_name(node)}›"


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case ast.Call(func=ast.Name(id="unknown"), args=[ast.Constant(value=kind), *_]):
            return f"unknown {kind}"
        case ast.Call(func=ast.Name(id="_first")):
            return "_first"
        case ast.Call(func=ast.Attribute(value=value)) | ast.Subscript(value=value):
            return _name(value)
        case ast.Call(args=[first, *_]):
            return _name(first)
        case ast.BinOp(left=left) | ast.BoolOp(values=[left, *_]) | ast.IfExp(body=left):
            return _name(left)
        case _:
            return "…"


def page() -> str:
    """The documentation page."""
    importlib.import_module("evoflash.cli.main")
    lines = [f"| {_cell(row.message)} | {row.exit_code} | {_cell(row.advice)} |" for row in rows()]
    return HEAD + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
