"""Engines for SQLite with a write-ahead log, for PostgreSQL, or any other SQLAlchemy URL; messages for their errors."""

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
from evoflash.store.location import POSTGRESQL, shown, sqlite_path

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10
# A client whose machine is gone is known to be after a minute; until then, nobody else can resume its run.
_KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


def writing_engine(url: URL) -> Engine:
    """An engine for writing. SQLite transactions take the write lock when they begin, so that none fails halfway.

    On PostgreSQL it has one connection, which also holds the locks of the runs that it writes (`AdvisoryClaims`).
    """
    if is_postgresql(url):
        return _create(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    engine = _create(url)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_writer)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def reading_engine(url: URL) -> Engine:
    """An engine that never changes the file; each transaction sees a consistent snapshot."""
    path = sqlite_path(url)
    if path is None:
        return _create(url, pool_pre_ping=True)
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


def snapshots(engine: Engine) -> Engine:
    """The same engine for reading: several queries of one transaction see the same state, and cannot change it."""
    if engine.dialect.name != "postgresql":
        return engine  # SQLite's are snapshots anyway
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def is_postgresql(url: URL) -> bool:
    """Whether a PostgreSQL server has the database."""
    return url.get_backend_name() == "postgresql"


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
    if url.drivername == POSTGRESQL:
        _require_psycopg(url)
        own = {"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8", "options": _KEEPALIVE}
        options["connect_args"] = {name: value for name, value in own.items() if name not in url.query}
    try:
        return create_engine(url, json_serializer=_to_json, **options)
    except NoSuchModuleError as error:
        raise UsageError(f"{shown(url)}: {error}; write a path, sqlite:///path.db or postgresql+psycopg://…") from None
    except ModuleNotFoundError as error:
        raise MissingError(f"{shown(url)} needs the package {error.name!r}; pip install {error.name}") from None


def _require_psycopg(url: URL) -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:  # also where libpq is missing
        raise MissingError(f"{shown(url)} needs psycopg ({error}); pip install 'evoflash[postgres]'") from None


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
        raise _too_large(url, doing) from None
    except (SQLAlchemyError, OSError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == "22003":
            raise _too_large(url, doing) from None
        words = " ".join((str(error.orig) if isinstance(error, DBAPIError) else str(error)).split())
        known = _POSTGRESQL if is_postgresql(url) else _SQLITE
        advice = next((advice for signs, advice in known if any(sign in words.lower() for sign in signs)), _CHECK)
        raise StorageError(f"cannot {doing} in {shown(url)}: {words}; {advice}") from error


def _too_large(url: URL, doing: str) -> UsageError:
    return UsageError(f"cannot {doing} in {shown(url)}: a number is beyond 64 bits; give a smaller one")


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
_FULL = (("disk is full", "no space"), "free some space, then continue with `evoflash resume`")
_FOREIGN = (("already exists",), "the database belongs to another program: give another one with --db")
# Signs in a message, and what to do then.
_SQLITE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("locked", "busy"), "another program is using it: close that program, or give another database with --db"),
    _FULL,
    (
        ("readonly", "read-only", "permission", "unable to open", "not a directory", "file exists"),
        "check that the file and its folder can be written, or give another database with --db",
    ),
    (
        ("not a database", "malformed"),
        "the file is damaged or not an SQLite database: restore it, or give another one with --db",
    ),
    _FOREIGN,
)
_POSTGRESQL: tuple[tuple[tuple[str, ...], str], ...] = (
    _FULL,
    (
        ("password authentication failed", "no password supplied"),
        "set PGPASSWORD, or write the password to ~/.pgpass",
    ),
    (
        ("no pg_hba.conf entry", "peer authentication failed", 'role "'),
        "name a user of the server: postgresql+psycopg://USER@HOST/NAME",
    ),
    (("does not exist",), "create it: `createdb -h HOST -U USER NAME`"),
    (
        ("read-only", "permission denied", "must be owner"),
        "ask its owner for the right, or give another database with --db",
    ),
    (("too many", "remaining connection slots"), "close other programs that use it, or raise max_connections"),
    (
        ("terminating connection", "server closed the connection", "connection is lost", "connection is closed"),
        "when the server is back, continue with `evoflash resume`",
    ),
    (
        ("connection refused", "no such file", "timeout", "timed out", "resolve host", "translate host", "starting up"),
        "check that the server runs, and that host and port are right",
    ),
    _FOREIGN,
)
_ADVICE = tuple(dict.fromkeys((*_SQLITE, *_POSTGRESQL)))
