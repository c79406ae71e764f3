"""What `--json` prints, read from the code: `python -m tests.json_page > docs/json.md`.

Fields and types are those of the models that the commands print; what a field means stands in the docstrings of the
models. A test compares the page with the code, and another what commands print with the schemas.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from evoflash.api.exporting import Exported
from evoflash.api.sitting import RecordedDocument
from evoflash.cli.bench import BenchDocument
from evoflash.cli.doctor import DoctorDocument
from evoflash.cli.kernels import BuildDocument, RenderDocument
from evoflash.cli.main import app
from evoflash.cli.profile import ProfileDocument
from evoflash.cli.running import SearchDocument
from evoflash.cli.templates import FamilyList
from evoflash.core.record import Document, Record
from evoflash.replay.measures import ReplayDocument
from evoflash.report.candidates import CandidateDocument, DiffDocument
from evoflash.report.lineage import Lineage
from evoflash.report.runs import Best, InsightList, RunList, RunReport
from evoflash.verify.verdict import VerifyDocument

DOCUMENTS: dict[str, type[Document]] = {
    "search": SearchDocument,
    "resume": SearchDocument,
    "runs list": RunList,
    "runs show": RunReport,
    "runs best": Best,
    "runs insights": InsightList,
    "lineage": Lineage,
    "show": CandidateDocument,
    "diff": DiffDocument,
    "export": Exported,
    "profile": ProfileDocument,
    "bench": BenchDocument,
    "verify": VerifyDocument,
    "record": RecordedDocument,
    "replay": ReplayDocument,
    "templates list": FamilyList,
    "render": RenderDocument,
    "build": BuildDocument,
    "doctor": DoctorDocument,
}
WITHOUT = {
    "runs export-t4",
    "convert",
    "new problem",
    "new family",
    "report",
    "dashboard",
    "worker",
}  # files, those of other tuners have schemas of their own; servers

HEAD = """\
# JSON

Every command that prints facts takes `--json`. It then prints one JSON object on standard output, and nothing else
there; progress, notes and errors go to standard error, and the exit code is the same as without it. A command that ends
with an error may print no object; `verify`, `bench`, `build` and `doctor` print theirs before an error about what they
found.

The JSON is strict: NaN and infinities are `null` wherever a number is said. Times are UTC in ISO 8601. Names of fields
stay, and new ones may come. In Python the objects are those that [`evoflash.Run`](python.md) returns.

This page is generated from the code by `python -m tests.json_page > docs/json.md`, and a test checks that it is up to
date.

## Commands
"""
WORDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false", "null": "null"}
NAMES = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


def schema(document: type[Document]) -> dict[str, Any]:
    """The JSON schema of what a command prints; NaN and infinities are null there, which it does not say."""
    return document.model_json_schema(mode="serialization")


def commands() -> dict[str, Any]:
    """All commands by their names."""

    def below(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", command

    return dict(below(get_command(app), ""))


def page() -> str:
    """The documentation page."""
    lines = [HEAD, "| command | object |", "|---|---|"]
    objects: dict[str, dict[str, Any]] = {}
    inner: dict[str, dict[str, Any]] = {}
    for command, document in DOCUMENTS.items():
        found = schema(document)
        lines.append(f"| `evoflash {command}` | {_link(document.__name__)} |")
        inner |= found.pop("$defs", {})
        objects[document.__name__] = found
    kinds = {name: each for name, each in inner.items() if "properties" not in each}
    records = {name: each for name, each in sorted(inner.items()) if "properties" in each and name not in objects}
    lines.append("\n## Objects of commands\n")
    for name, each in objects.items():
        lines += _section(name, each, kinds)
    lines.append("## Objects in them\n")
    for name, each in records.items():
        lines += _section(name, each, kinds)
    return "\n".join(lines).rstrip() + "\n"


def descriptions(name: str, found: dict[str, Any]) -> dict[str, str]:
    """Field -> its meaning, from the docstring of the class, of those that it builds on, or of a property."""
    meanings = {field: each["description"] for field, each in found["properties"].items() if "description" in each}
    for each in reversed(_records().get(name, Record).__mro__):
        meanings |= _attributes(inspect.getdoc(each) or "")
    return meanings | _attributes(found.get("description", ""))


@functools.cache
def _records() -> dict[str, type[Record]]:
    """All records by name."""
    found: list[type[Record]] = [Record]
    for each in found:  # grows meanwhile
        found += each.__subclasses__()
    return {each.__name__: each for each in found}


def _attributes(docstring: str) -> dict[str, str]:
    _, _, attributes = docstring.partition("Attributes:\n")
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in attributes.splitlines():
        begun = NAMES.match(line.strip()) if re.match(r" {4}\w", line) else None
        if begun is not None:
            names = begun[1].split(", ")
            meanings |= dict.fromkeys(names, begun[2])
        elif line.strip():
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        else:
            break
    return meanings


def _section(name: str, found: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> list[str]:
    meanings = descriptions(name, found)
    about = " ".join(found.get("description", "").partition("Attributes:")[0].split())
    rows = [
        f"| `{field}` | {_kind(each, kinds)} | {_cell(meanings.get(field, ''))} |"
        for field, each in found["properties"].items()
    ]
    return [f"### {name}\n", f"{about}\n", "| field | is | meaning |", "|---|---|---|", *rows, ""]


def _kind(each: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> str:
    if "$ref" in each:
        name = each["$ref"].rpartition("/")[2]
        return _kind(kinds[name], kinds) if name in kinds else _link(name)
    if "anyOf" in each:
        return " or ".join(dict.fromkeys(_kind(part, kinds) for part in each["anyOf"]))
    if "enum" in each:
        return " or ".join(f'"{value}"' for value in each["enum"])
    if "const" in each:
        return f'"{each["const"]}"'
    match each.get("type"):
        case "array" if "prefixItems" in each:
            return f"list of {', '.join(_kind(part, kinds) for part in each['prefixItems'])}"
        case "array":
            return f"list of {_kind(each['items'], kinds)}"
        case "object" if isinstance(each.get("additionalProperties"), dict):
            return f"object of {_kind(each['additionalProperties'], kinds)}"
        case "object":
            return "object"
        case "string" if each.get("format") == "date-time":
            return "time"
        case str() as word:
            return WORDS[word]
        case _:
            return "any value"


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
