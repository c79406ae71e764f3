"""A database of made-up results, which need not survive a power cut."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from evoflash.store import RunStore


@contextlib.contextmanager
def hasty_store(path: Path) -> Iterator[RunStore]:
    """A database that is written without waiting for the disk."""
    with RunStore.open(str(path), write=True) as store:
        connection = store._engine.raw_connection()  # the pool's only one
        connection.cursor().execute("PRAGMA synchronous = OFF")
        connection.close()
        yield store
