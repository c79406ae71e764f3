"""Opening a database: who writes it, the schema version, and runs that were killed."""

from sqlalchemy import Engine, update
from sqlalchemy.engine import URL

from evoflash.errors import NotFoundError
from evoflash.store import migrate
from evoflash.store.claims import AdvisoryClaims, Claims, FileClaims, UnknownClaims, lock_tables
from evoflash.store.engine import decoded, explained, is_postgresql, reading_engine, writing_engine
from evoflash.store.location import shown, sqlite_path
from evoflash.store.lock import is_locked, lock_for_writing
from evoflash.store.models import RunRow

KILLED = "its process was killed; continue with `evoflash resume`"


def open_writer(url: URL) -> tuple[Engine, Claims]:
    """Opens a database for writing and migrates it; returns also the claims on its runs.

    Raises:
        StorageError: when it cannot be written, a newer evoflash wrote it, or it is an SQLite file that another search
            is writing.
    """
    path = sqlite_path(url)
    lock = lock_for_writing(path) if path is not None else None
    database: Engine | None = None
    try:
        with explained(url, "open the runs"):
            if path is not None and path.exists():
                # First check read-only: even the switch to a write-ahead log would change a newer file.
                with decoded(url, "open the runs"):
                    reader = reading_engine(url)
                    _revision(reader, url)
                    reader.dispose()
            database = writing_engine(url)
            with database.begin() as connection:
                lock_tables(connection)
                migrate.refuse_newer(connection, shown(url))
                migrate.upgrade(connection)
                if lock is not None:  # there is no other writer, so runs that are marked as running were killed
                    running = update(RunRow).where(RunRow.status == "running")
                    connection.execute(running.values(status="interrupted", stop_reason=KILLED))
    except BaseException:
        if database is not None:
            database.dispose()
        if lock is not None:
            lock.release()
        raise
    return database, FileClaims(lock, has_writer=True) if lock is not None else _claims_of(url, database)


def open_reader(url: URL) -> tuple[Engine, Claims]:
    """Opens a database for reading; returns also the claims on its runs.

    Raises:
        NotFoundError: when there are no runs yet.
        StorageError: when it cannot be read, or a newer evoflash wrote it.
    """
    path = sqlite_path(url)
    none_yet = NotFoundError(f"there are no runs in {shown(url)} yet; run `evoflash search`, or give another with --db")
    if path is not None and not path.exists():
        raise none_yet
    with explained(url, "read the runs"), decoded(url, "read the runs"):
        database = reading_engine(url)
        found = _revision(database, url)
    if found is None:
        raise none_yet
    if found != migrate.HEAD:  # an older schema is migrated, as by a search
        database.dispose()
        upgraded, claims = open_writer(url)
        upgraded.dispose()
        claims.close()
        database = reading_engine(url)
    if path is not None:
        return database, FileClaims(None, has_writer=is_locked(path))
    return database, _claims_of(url, database)


def _claims_of(url: URL, database: Engine) -> Claims:
    return AdvisoryClaims(database) if is_postgresql(url) else UnknownClaims()


def _revision(database: Engine, url: URL) -> str | None:
    """The revision of the schema; raises StorageError for a newer one."""
    with database.connect() as connection:
        migrate.refuse_newer(connection, shown(url))
        return migrate.revision(connection)
