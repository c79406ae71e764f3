"""What an editor needs to open a kernel and its headers as the C++ that they are.

A compilation database (https://clang.llvm.org/docs/JSONCompilationDatabase.html) lists the command by which each file
is compiled; clangd reads it. Headers are listed, too, so that each opens by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from evoflash.codegen.amalgamation import NOTHING
from evoflash.errors import StorageError
from evoflash.targets import Target

FILE = "compile_commands.json"


def write(
    folder: Path,
    text: str,
    headers: Iterable[Path],
    include_folders: Iterable[Path],
    target: Target,
    generated: Mapping[str, str] = NOTHING,
) -> Path:
    """Writes a kernel that still includes its headers, with the database that lists them; returns the kernel's path.

    Args:
        generated: headers that are in no folder, by name; they are written beside the kernel, where other
            headers find them.

    Raises:
        StorageError: when it cannot be written.
    """
    folder = folder.expanduser().resolve()
    kernel = folder / target.source_name
    includes = [f"-I{each.resolve()}" for each in (folder, *include_folders)]
    command = ["clang++", *target.clang_arguments(), *includes, "-fsyntax-only"]
    # A header that is opened by itself is a main file to clang.
    of_header = [*command, "-Wno-pragma-once-outside-header", "-Wno-unused-function"]
    entries = [
        {"directory": str(folder), "file": str(file), "arguments": [*arguments, str(file)]}
        for file, arguments in ((kernel, command), *((each.resolve(), of_header) for each in headers))
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, header in generated.items():
            (folder / name).write_text(header, encoding="utf-8")
        kernel.write_text(text, encoding="utf-8")
        (folder / FILE).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from None
    return kernel
