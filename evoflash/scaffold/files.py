"""Files that are rendered from evoflash/scaffold/skeletons/ and written where none is."""

from __future__ import annotations

import functools
import importlib.resources
import keyword
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from evoflash.errors import UsageError
from evoflash.problems.c_interface.words import C_WORDS, RESERVED


def render(skeleton: str, **values: Any) -> str:
    """The text of a skeleton; what it reads stands in <{ }>, since Jinja's own marks are part of templates."""
    return _environment().get_template(skeleton).render(values)


def write(files: Mapping[Path, str]) -> None:
    """Writes files, and the folders that they need.

    Raises:
        UsageError: when one exists, or cannot be written; then none is.
    """
    require_free(files)
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}; choose another --out") from None


def require_free(paths: Iterable[Path]) -> None:
    """Raises UsageError for a file that exists."""
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} exists already; choose another name or --out, or remove it")


def require_name(kind: str, name: str) -> None:
    """Raises UsageError for what cannot be a name in Python, in C, and of a header."""
    is_identifier = name.isidentifier() and name.isascii() and not name.startswith("_")
    if not is_identifier or keyword.iskeyword(name) or name in C_WORDS:
        raise UsageError(f"{name!r} cannot be the name of a {kind}; use letters, digits and _, such as row_softmax")
    if name in RESERVED:
        raise UsageError(f"{name!r} cannot be the name of a {kind}, since {name}.h is another header; choose another")


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(str(importlib.resources.files("evoflash.scaffold"))) / "skeletons"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<{",
        variable_end_string="}>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
