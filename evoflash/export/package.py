"""A winner, written as an installable Python distribution."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from evoflash.errors import StorageError, UsageError
from evoflash.export import rendering
from evoflash.export.winner import Winner
from evoflash.system import processes

# What running, testing and installing an export leaves in its folder; these never stand in the way of a new one.
LEFTOVERS = re.compile(r"__pycache__|\.pytest_cache|\.ruff_cache|build|dist|.*\.egg-info")


def write(winner: Winner, out: Path) -> Path:
    """Writes the distribution into `out` and returns that folder's absolute path.

    The folder appears whole or not at all: it is made beside `out` and renamed. An earlier export there is replaced.

    Raises:
        UsageError: when `out` is a file, or holds anything that is not an export's.
        StorageError: when it cannot be written.
    """
    return _write(rendering.files(winner), out.expanduser().resolve(), _refuse_foreign)


def write_files(files: Mapping[str, str], out: Path) -> Path:
    """Writes an export of another form, as path -> text, in the same way.

    Raises:
        UsageError: when `out` is a file, or holds another file than these.
        StorageError: when it cannot be written.
    """

    def refuse_others(out: Path) -> None:
        if out.exists() and not out.is_dir():
            raise UsageError(f"{out} is a file; choose a folder")
        present = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        others = sorted(present - set(files))
        if others:
            raise UsageError(f"{out} holds {others[0]!r}, which is no export's; choose an empty or new folder")

    return _write(files, out.expanduser().resolve(), refuse_others)


def _write(files: Mapping[str, str], out: Path, refuse: Callable[[Path], None]) -> Path:
    try:
        refuse(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with processes.temporary_folder(f".{out.name[:100]}.", out.parent) as beside:
            fresh = beside / "fresh"
            for path, text in files.items():
                file = fresh / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text.encode())
            _swap(fresh, out, beside / "replaced")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; choose another folder") from None
    return out


def package_in(folder: Path) -> str | None:
    """The name of the exported package in a folder; None where another exporter has written something else."""
    names = (_package_of(path.relative_to(folder).as_posix()) for path in _files(folder))
    return next((name for name in names if name), None)


def _refuse_foreign(out: Path) -> None:
    """Raises UsageError unless `out` is absent, empty, or holds an earlier export and nothing else of anyone's."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose a folder")
    present = {file.relative_to(out).as_posix() for file in _files(out)}
    if not present and not any(out.iterdir()):
        return
    exported = next((name for name in map(_package_of, present) if name), None)
    known = rendering.paths(exported) if exported else frozenset()
    foreign = sorted(present - known) or ([] if exported else sorted(path.name for path in out.iterdir()))
    if foreign:
        raise UsageError(f"{out} holds {foreign[0]!r}, which is no export's; choose an empty or new folder")


def _files(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if LEFTOVERS.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _package_of(path: str) -> str | None:
    """The package's name, for the path of the file that only an export has."""
    package, _, file = path.partition("/")
    return package if file == rendering.MARKER else None


def _swap(fresh: Path, out: Path, replaced: Path) -> None:
    """Renames `fresh` to `out`. What stood there goes to `replaced`, and comes back on a failure or interrupt."""
    try:
        if out.exists():
            os.rename(out, replaced)
        os.rename(fresh, out)
    except BaseException:
        if replaced.exists() and not out.exists():
            os.rename(replaced, out)
        raise
