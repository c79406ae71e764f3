"""Claims on runs: which of them a live process is writing. A claim ends with its process, however that ends."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import Any

from filelock import FileLock
from sqlalchemy import Connection, Engine, event, select, text
from sqlalchemy.engine import URL

from evoflash.errors import StorageError
from evoflash.store.engine import is_postgresql, writing_engine
from evoflash.store.models import RunRow


class Claims(ABC):
    """Which runs of a database live processes are writing."""

    @abstractmethod
    def claim(self, connection: Connection, run_id: int) -> None:
        """Makes a run this process's own until it is given up.

        Raises:
            StorageError: when another process is writing it.
        """

    @abstractmethod
    def give_up(self, connection: Connection, run_id: int) -> None:
        """Ends a claim."""

    @abstractmethod
    def abandoned(self, running: Collection[int]) -> set[int]:
        """Of the runs that are marked as running, those that nobody writes any more: their process was killed."""

    @abstractmethod
    def close(self) -> None:
        """Ends all claims of this process. The database is closed already."""


class FileClaims(Claims):
    """An SQLite file has one writer, whose lock is a claim on all its runs.

    Args:
        lock: the lock, for the writer.
        has_writer: whether a live process may be writing.
    """

    def __init__(self, lock: FileLock | None, *, has_writer: bool):
        self._lock = lock
        self._has_writer = has_writer

    def claim(self, connection: Connection, run_id: int) -> None:
        """Nothing to do: the lock is held."""

    def give_up(self, connection: Connection, run_id: int) -> None:
        """Nothing to do: the lock is held until the database is closed."""

    def abandoned(self, running: Collection[int]) -> set[int]:
        """All or none."""
        return set() if self._has_writer else set(running)

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.release()


class UnknownClaims(Claims):
    """A database that cannot tell who writes: a run that is marked as running counts as such."""

    def claim(self, connection: Connection, run_id: int) -> None:
        """Nothing to do."""

    def give_up(self, connection: Connection, run_id: int) -> None:
        """Nothing to do."""

    def abandoned(self, running: Collection[int]) -> set[int]:
        """None."""
        return set()

    def close(self) -> None:
        """Nothing to do."""


SPACE = 0x65766F66  # of advisory locks, which all programs of a database share: "evof"
TABLES = 0  # the lock of the tables themselves; runs have their ids

_TRY = text("SELECT pg_try_advisory_lock(:space, :run)")
_UNLOCK = text("SELECT pg_advisory_unlock(:space, :run)")
_HELD = text(
    "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :space AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class AdvisoryClaims(Claims):
    """Advisory locks of PostgreSQL's, one for each run, which the server releases when their connection ends.

    The writer has one connection for its writes and its locks. So it cannot write a run that it has lost: where the
    connection broke and another process has taken the run since, the next connection fails.

    Args:
        database: with at most one connection, if this process writes.
    """

    def __init__(self, database: Engine):
        self._database = database
        self._own: set[int] = set()
        event.listen(database, "connect", self._claim_again)

    def claim(self, connection: Connection, run_id: int) -> None:
        """Takes the run's lock."""
        if run_id in self._own:
            return
        if not connection.execute(_TRY, {"space": SPACE, "run": run_id}).scalar():
            raise _taken(run_id)
        self._own.add(run_id)

    def give_up(self, connection: Connection, run_id: int) -> None:
        """Releases the run's lock."""
        if run_id in self._own:
            self._own.remove(run_id)
            connection.execute(_UNLOCK, {"space": SPACE, "run": run_id})

    def abandoned(self, running: Collection[int]) -> set[int]:
        """Those without a lock.

        A run that ends properly is marked as ended before its lock is released. So a run that had no lock, and is still
        marked as running afterwards, was abandoned, unless somebody has resumed it since.
        """
        lost = set(running) - self._held() if running else set()
        if not lost:
            return set()
        with self._database.connect() as connection:
            marked = select(RunRow.id).where(RunRow.id.in_(lost), RunRow.status == "running")
            return set(connection.scalars(marked)) - self._held(connection)

    def close(self) -> None:
        """Nothing to do: the server has released the locks."""

    def _held(self, connection: Connection | None = None) -> set[int]:
        if connection is None:
            with self._database.connect() as own:
                return self._held(own)
        return set(connection.scalars(_HELD, {"space": SPACE}))

    def _claim_again(self, connection: Any, _record: object) -> None:
        """Takes the locks again after the server has ended a connection."""
        with connection.cursor() as cursor:
            for run_id in sorted(self._own):
                cursor.execute(f"SELECT pg_try_advisory_lock({SPACE}, {run_id})")
                if not cursor.fetchone()[0]:
                    raise _taken(run_id)
        connection.commit()


def lock_tables(connection: Connection) -> None:
    """Waits until no other process changes the tables, and keeps others from it for the rest of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, :run)"), {"space": SPACE, "run": TABLES})


@contextlib.contextmanager
def changing_tables(url: URL) -> Iterator[None]:
    """Meanwhile no other process changes the tables of a PostgreSQL database; an SQLite file has one writer anyway."""
    if not is_postgresql(url):
        yield
        return
    database = writing_engine(url)
    try:
        with database.begin() as connection:
            lock_tables(connection)
            yield
    finally:
        database.dispose()


def _taken(run_id: int) -> StorageError:
    return StorageError(
        f"another process is searching run {run_id}; wait until it ends, or start a search of your own with "
        "`evoflash search`"
    )
