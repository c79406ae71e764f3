"""Locations of databases: SQLAlchemy URLs and SQLite paths."""

import re
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from evoflash.errors import UsageError

SECRETS = ("password", "sslpassword")  # parameters of a URL that nobody else may read
POSTGRESQL = "postgresql+psycopg"  # what `postgresql://` means: the driver that the extra `postgres` installs


def resolve(url: str) -> URL:
    """Parses a SQLAlchemy URL or the path of an SQLite file.

    Raises:
        UsageError: for a URL that does not parse.
    """
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):  # its words may quote the password
        raise UsageError(
            f"{without_password(url)!r} is not a database URL; write a path, sqlite:///path.db or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from None
    return found.set(drivername=POSTGRESQL) if found.drivername in ("postgresql", "postgres") else found


def sqlite_path(url: URL) -> Path | None:
    """The path of an SQLite file; None for other databases and for an SQLite database in memory."""
    name = url.database
    if url.get_backend_name() != "sqlite" or not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name).absolute()


def shown(url: URL) -> str:
    """The location for a message: the path as given, or the URL without its password."""
    if url.database and sqlite_path(url):
        return url.database
    return _plain(url).render_as_string(hide_password=False)


def without_password(location: str) -> str:
    """A path or URL as it may be printed, also in a command: clients find the password where PostgreSQL's own do."""
    if "://" not in location:
        return location
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):
        return re.sub(r"(?<=://).*@", "", location)
    return location if _plain(url) == url else shown(url)


def _plain(url: URL) -> URL:
    own = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return own.difference_update_query(SECRETS)
