"""Lookup of problems, templates, search spaces and configuration files.

The search order is: folders given by the user, the working directory, installed plug-ins, the files that ship with
evoflash.
"""

import copy
import functools
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from evoflash.errors import UsageError
from evoflash.system import entry_points


@functools.cache
def shipped() -> Path:
    """The folder of the shipped files: inside the package of an installed wheel, or the root of the repository."""
    package = Path(str(importlib.resources.files("evoflash")))
    inside = package / "_shipped"
    return inside if inside.is_dir() else package.parent


def roots(extra: Sequence[Path] = ()) -> list[Path]:
    """Folders that may contain templates/, search_spaces/ and configs/, in search order."""
    found = [*extra, Path.cwd()]
    for package in entry_points.loaded("evoflash.templates").values():
        found.append(Path(str(importlib.resources.files(package))))
    found.append(shipped())
    unique: dict[Path, None] = {}
    for root in found:
        unique.setdefault(root.resolve(), None)
    return list(unique)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file that contains a mapping.

    Raises:
        UsageError: when the file cannot be read, does not parse, or is not a mapping.
    """
    try:
        content = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}; fix the file") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} must contain a mapping of names to values; fix the file")
    return content


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A text, parsed once: most of what it takes to load a family is this, and families are loaded again and again."""
    return yaml.safe_load(text)


def config(name: str, extra: Sequence[Path] = ()) -> dict[str, Any]:
    """Reads configs/<name>.yaml; a user's file adds to the shipped one and overrides it, key by key."""
    merged: dict[str, Any] = {}
    for root in reversed(roots(extra)):
        path = root / "configs" / f"{name}.yaml"
        if path.is_file():
            merged.update(read_yaml(path))
    return merged
