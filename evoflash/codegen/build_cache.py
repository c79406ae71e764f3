"""Finished builds on disk, by key: whole and as they were written, or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from evoflash.core.evaluation import BuildReport
from evoflash.errors import StorageError

LIBRARY = "kernel.so"
REPORT = "report.json"
BUILDING = ".building-"
ABANDONED_S = 3600.0  # no build takes so long: a folder this old is from a machine that stopped


class BuildCache:
    """A folder of finished builds; safe to share between processes, and to delete.

    An entry is a library and its report. The report holds the library's digest and stands behind its own, so an entry
    in which a single bit has changed is none.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def require_writable(self) -> None:
        """Makes the folder, and removes what builds left there when the machine stopped.

        Raises:
            StorageError: when it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"0" * 4096)
                now = os.fstat(file.fileno()).st_mtime  # by the file system's clock, which is not always ours
            for left in self.folder.glob(f"{BUILDING}*"):
                with contextlib.suppress(FileNotFoundError):  # another process removes it too
                    if now - left.stat().st_mtime > ABANDONED_S:
                        shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise self.refused(error) from None

    def refused(self, error: OSError | str) -> StorageError:
        """What to tell a person when the disk refuses."""
        why = error if isinstance(error, str) else error.strerror
        return StorageError(
            f"cannot write {self.folder}: {why}; free space, or choose another folder by --cache, then go on by "
            "`evoflash resume`"
        )

    def find(self, key: str) -> tuple[BuildReport, Path] | None:
        """An entry's report and library, unless it is missing or damaged."""
        home = self._home(key)
        try:
            digest, _, text = (home / REPORT).read_text(encoding="utf-8").partition("\n")
            report = BuildReport.model_validate_json(text)
            if digest == _text_digest(text) and is_intact(home / LIBRARY, report):
                return report, home / LIBRARY
        except (OSError, ValueError):
            pass
        return None

    def keep(self, key: str, folder: Path, report: BuildReport) -> Path:
        """Moves a finished build, the library in its folder, into the cache in one step; answers where the library is.

        A process that was faster keeps its own.

        Raises:
            OSError: when the disk refuses.
        """
        home = self._home(key)
        text = report.model_dump_json()
        (folder / REPORT).write_text(f"{_text_digest(text)}\n{text}", encoding="utf-8")
        home.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(2):
            try:
                os.rename(folder, home)
                break
            except OSError:
                if self.find(key) is not None:
                    break
                if attempt:
                    raise
                shutil.rmtree(home, ignore_errors=True)  # a damaged entry
        return home / LIBRARY

    def _home(self, key: str) -> Path:
        return self.folder / key[:2] / key


def is_intact(library: Path, report: BuildReport) -> bool:
    """Whether a library is there and is what its report says."""
    try:
        return file_digest(library) == report.binary_digest
    except OSError:
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
