"""Engines for SQLite with a write-ahead log or for any other SQLAlchemy URL, and messages for database errors."""

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from evoflash.errors import MissingError, StorageError, UsageError
from evoflash.store.columns import DamageError
from evoflash.store.location import shown, sqlite_path

BUSY_SECONDS = 30.0


def writing_engine(url: URL) -> Engine:
    """An engine for writing. SQLite transactions take the write lock when they begin, so that none fails halfway."""
    engine = _create(url)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_writer)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def reading_engine(url: URL) -> Engine:
    """An engine that never changes the file; each transaction sees a consistent snapshot."""
    path = sqlite_path(url)
    if path is None:
        return writing_engine(url)
    engine = _read_only(path, "mode=ro")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
    except DBAPIError:
        # SQLite cannot create the log's index in a read-only folder; a database without a log does not need it.
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        engine.dispose()
        engine = _read_only(path, "immutable=1")
    return engine


def _read_only(path: Path, mode: str) -> Engine:
    name = f"file:{urllib.parse.quote(str(path))}?{mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    engine = _create(URL.create("sqlite"), creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _create(url: URL, **options: Any) -> Engine:
    if url.get_backend_name() == "sqlite" and "creator" not in options:
        options["connect_args"] = {"timeout": BUSY_SECONDS}
    try:
        return create_engine(url, json_serializer=_to_json, **options)
    except NoSuchModuleError as error:
        raise UsageError(f"{shown(url)}: {error}; write a path or sqlite:///path.db") from None
    except ModuleNotFoundError as error:
        raise MissingError(f"{shown(url)} needs the package {error.name!r}; pip install {error.name}") from None


def _to_json(value: Any) -> str:
    """JSON of settings: paths, enums and models; NaN and infinities, which JSON lacks, become strings."""
    return pydantic_core.to_json(value, inf_nan_mode="strings", fallback=str).decode()


def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the listener above begins transactions, not Python's driver
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextlib.contextmanager
def explained(url: URL, doing: str) -> Iterator[None]:
    """Turns database and disk errors into a StorageError that says what to do.

    Args:
        url: the database.
        doing: what was attempted, e.g. "record candidate 7".
    """
    try:
        yield
    except OverflowError:
        raise UsageError(f"cannot {doing} in {shown(url)}: a number is beyond 64 bits; give a smaller one") from None
    except (SQLAlchemyError, OSError) as error:
        words = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        advice = next((advice for signs, advice in _ADVICE if any(sign in words.lower() for sign in signs)), _CHECK)
        raise StorageError(f"cannot {doing} in {shown(url)}: {words}; {advice}") from error


@contextlib.contextmanager
def decoded(url: URL, doing: str) -> Iterator[None]:
    """Turns values that do not fit their columns, which SQLite stores nevertheless, into a StorageError.

    Only decoding and validation raise the errors below. Any other error is a bug, which must not look like damage.

    Args:
        url: the database.
        doing: what was attempted, e.g. "list the runs".
    """
    try:
        yield
    except (DamageError, ValidationError, UnicodeDecodeError) as error:  # the last: a message of SQLite's own
        what = " ".join(str(error).split())[:200]
        raise StorageError(
            f"cannot {doing} in {shown(url)}: a value is damaged ({what}); restore the database, or give another one "
            "with --db"
        ) from error


_CHECK = "check the database, or give another one with --db"
_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("locked", "busy"), "another program is using it: close that program, or give another database with --db"),
    (("disk is full", "no space"), "free some space, then continue with `evoflash resume`"),
    (
        ("readonly", "read-only", "permission", "unable to open", "not a directory", "file exists"),
        "check that the file and its folder can be written, or give another database with --db",
    ),
    (
        ("not a database", "malformed"),
        "the file is damaged or not an SQLite database: restore it, or give another one with --db",
    ),
    (("already exists",), "the database belongs to another program: give another one with --db"),
)
