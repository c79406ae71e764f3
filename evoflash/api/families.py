"""Families that are named on the command line, and errors for a file or folder in place of one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from evoflash.bench.entrants import package_folder
from evoflash.codegen.template import Template, load
from evoflash.errors import NotFoundError, UsageError

HOLDS = ("templates", "search_spaces", "configs")  # what a folder of --templates may hold
KINDS = ("py", "cu", "cpp", "json", "csv")  # of files, by the ends of their names
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")  # module:function
FUNCTION_BY_FILE = re.compile(r"([A-Za-z_]\w*)\.py:([A-Za-z_][\w.]*)")


def named(name: str, templates: Sequence[Path]) -> Template:
    """The family of this name.

    Raises:
        NotFoundError: for a name that no family has.
        UsageError: for a file or folder.
        SpaceError: for a template or space that is malformed.
    """
    try:
        return load(name, templates)
    except NotFoundError:
        refuse_path(name)
        raise


def folder_of_templates(text: str) -> Path:
    """A folder of --templates.

    Raises:
        UsageError: when it is none, or holds nothing that is looked for there.
    """
    folder = Path(text).expanduser()
    if os.path.isfile(folder):
        refuse_path(text)
    if not any(os.path.isdir(folder / each) for each in HOLDS):
        raise UsageError(
            f"--templates {text} has no templates/, search_spaces/ or configs/ in it; give the folder that holds them"
        )
    return folder


def refuse_path(name: str) -> None:
    """Refuses what is a file or folder, and says which command takes it; other names are left alone.

    Raises:
        UsageError: for a path.
    """
    path = Path(name).expanduser()
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    function = FUNCTION_BY_FILE.fullmatch(name)
    if function is not None:
        words = ":".join(function.groups())
        raise UsageError(f"{name} names a file; write module:function, here {words}")
    if kind in KINDS and not path.exists():
        raise UsageError(f"there is no file {name}; check the path, or name a family of `evoflash templates list`")
    if os.path.isdir(path):
        _refuse_folder(name, path)
    if kind == "py" and _is_problem(path):
        raise UsageError(
            f"{name} is a problem, not a family; search kernels for it by `evoflash search --problem {name}`, "
            f"or write a family for it by `evoflash new family NAME --problem {name}`"
        )
    if kind == "py":
        raise UsageError(
            f"{name} is a Python file, not a family; check a function of it by `evoflash verify {path.stem}:FUNCTION` "
            "in its folder, or name a family of `evoflash templates list`"
        )
    if kind in ("cu", "cpp"):
        raise UsageError(
            f"{name} is a source file, not a family; check it by `evoflash verify {name}`, "
            "or name a family of `evoflash templates list`"
        )
    if kind in ("json", "csv"):
        raise UsageError(
            f"{name} is a file of results, not a family; compare strategies on it by `evoflash replay {name}`, "
            "or name a family of `evoflash templates list`"
        )
    if os.path.isfile(path):
        raise UsageError(f"{name} is a file, not a family; name a family of `evoflash templates list`")


def _refuse_folder(name: str, path: Path) -> None:
    if package_folder(path) is not None:
        raise UsageError(
            f"{name} is an exported package, not a family; time it by `evoflash bench --kernel {name}`, "
            f"check it by `evoflash verify {name}`, or name a family of `evoflash templates list`"
        )
    if (path / "template.yaml").is_file():
        raise UsageError(
            f"{name} is the folder of a family; name it {path.resolve().name}, with --templates and the folder that "
            "holds its templates/ and search_spaces/"
        )
    raise UsageError(
        f"{name} is a folder, not a family; give a folder with templates/ and search_spaces/ by --templates, "
        "or name a family of `evoflash templates list`"
    )


def _is_problem(path: Path) -> bool:
    """Whether a file says how inputs are made, as problems do, and KernelBench's tasks."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return bool(re.search(r"^def get_inputs\b", text, re.MULTILINE))
