"""Opening the database: the lock, the schema's version, and what a killed search left behind."""

from filelock import FileLock
from sqlalchemy import Engine, update
from sqlalchemy.engine import URL

from evoflash.errors import NotFoundError
from evoflash.store import migrate
from evoflash.store.engine import explained, reading_engine, writing_engine
from evoflash.store.location import shown, sqlite_path
from evoflash.store.lock import is_locked, lock_for_writing
from evoflash.store.models import RunRow

KILLED = "its process ended without a word; continue with `evoflash resume`"


def open_writer(url: URL) -> tuple[Engine, FileLock | None]:
    """A database at this evoflash's schema, and the lock on it (None where the database is no SQLite file).

    Raises:
        StorageError: when it cannot be written, another search writes it, or a newer evoflash made it.
    """
    path = sqlite_path(url)
    lock = lock_for_writing(path) if path is not None else None
    database: Engine | None = None
    try:
        with explained(url, "open the runs"):
            if path is not None and path.exists():
                # A look without writing first: even the switch to a write-ahead log would change a newer file.
                look = reading_engine(url)
                _revision(look, url)
                look.dispose()
            database = writing_engine(url)
            with database.begin() as connection:
                migrate.refuse_newer(connection, shown(url))
                migrate.upgrade(connection)
                if lock is not None:  # nobody else writes, so whatever says that it runs was killed
                    running = update(RunRow).where(RunRow.status == "running")
                    connection.execute(running.values(status="interrupted", stop_reason=KILLED))
    except BaseException:
        if database is not None:
            database.dispose()
        if lock is not None:
            lock.release()
        raise
    return database, lock


def open_reader(url: URL) -> tuple[Engine, bool]:
    """A database that is only read, and whether a search that lives may be writing it.

    Raises:
        NotFoundError: when there are no runs yet.
        StorageError: when it cannot be read, or a newer evoflash made it.
    """
    path = sqlite_path(url)
    none_yet = NotFoundError(f"there are no runs in {shown(url)} yet; run `evoflash search`, or name another with --db")
    if path is not None and not path.exists():
        raise none_yet
    with explained(url, "read the runs"):
        database = reading_engine(url)
        found = _revision(database, url)
    if found is None:
        raise none_yet
    if found != migrate.HEAD:  # an older schema: bring it up to date, as a search would
        database.dispose()
        upgraded, lock = open_writer(url)
        upgraded.dispose()
        if lock is not None:
            lock.release()
        database = reading_engine(url)
    return database, path is None or is_locked(path)


def _revision(database: Engine, url: URL) -> str | None:
    """The schema's revision, after refusing a newer one."""
    with database.connect() as connection:
        migrate.refuse_newer(connection, shown(url))
        return migrate.revision(connection)
