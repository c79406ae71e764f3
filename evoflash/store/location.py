"""Locations of databases: SQLAlchemy URLs and SQLite paths."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from evoflash.errors import UsageError


def resolve(url: str) -> URL:
    """Parses a SQLAlchemy URL or the path of an SQLite file.

    Raises:
        UsageError: for a URL that does not parse.
    """
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"{url!r} is not a database URL: {error}; write a path or sqlite:///path.db") from None


def sqlite_path(url: URL) -> Path | None:
    """The path of an SQLite file; None for other databases and for an SQLite database in memory."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name).absolute()


def shown(url: URL) -> str:
    """The location for a message: the path as given, or the URL without its password."""
    return url.database if url.database and sqlite_path(url) else url.render_as_string(hide_password=True)
