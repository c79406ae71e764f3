"""The build cache on disk. An entry is found only if it is complete and unchanged."""

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
ABANDONED_S = 3600.0  # no build takes this long: an older folder is left over from a crash of the machine


class BuildCache:
    """A folder of finished builds; it can be shared between processes, and deleted.

    An entry is a product, which is a library unless told otherwise, and its report. The report contains the digest of
    the product, and its file begins with the digest of the report, so that any change of an entry is detected.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def require_writable(self) -> None:
        """Creates the folder, and removes builds that a crash of the machine left there.

        Raises:
            StorageError: when it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"0" * 4096)
                now = os.fstat(file.fileno()).st_mtime  # the file system's clock, which may differ from the local one
            for abandoned in self.folder.glob(f"{BUILDING}*"):
                with contextlib.suppress(FileNotFoundError):  # another process may remove it too
                    if now - abandoned.stat().st_mtime > ABANDONED_S:
                        shutil.rmtree(abandoned, ignore_errors=True)
        except OSError as error:
            raise self.refused(error) from None

    def refused(self, error: OSError | str) -> StorageError:
        """The error for a failed write."""
        why = error if isinstance(error, str) else error.strerror
        return StorageError(
            f"cannot write {self.folder}: {why}; free space, or choose another folder with --cache, then continue with "
            "`evoflash resume`"
        )

    def find(self, key: str, product: str = LIBRARY) -> tuple[BuildReport, Path] | None:
        """The report and product of an entry; None if it is missing or damaged."""
        home = self._home(key)
        try:
            digest, _, text = (home / REPORT).read_text(encoding="utf-8").partition("\n")
            report = BuildReport.model_validate_json(text)
            if digest == _text_digest(text) and is_intact(home / product, report):
                return report, home / product
        except (OSError, ValueError):
            pass
        return None

    def keep(self, key: str, folder: Path, report: BuildReport, product: str = LIBRARY) -> Path:
        """Moves the folder of a finished build into the cache atomically; returns the path of its product.

        If another process has already added the entry, that entry is used.

        Raises:
            OSError: when it cannot be written.
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
                if self.find(key, product) is not None:
                    break
                if attempt:
                    raise
                shutil.rmtree(home, ignore_errors=True)  # a damaged entry
        return home / product

    def _home(self, key: str) -> Path:
        return self.folder / key[:2] / key


def is_intact(product: Path, report: BuildReport) -> bool:
    """Whether a product exists and matches the digest in its report."""
    try:
        return file_digest(product) == report.binary_digest
    except OSError:
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
