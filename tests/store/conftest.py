"""The databases that the store's tests run on: an SQLite file of each test's own, and one PostgreSQL server."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from evoflash.store import RunStore
from tests import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres.Server() as started:
        yield started


@pytest.fixture(scope="session")
def migrated(server) -> str:
    """A database with evoflash's tables."""
    url = server.create("migrated")
    RunStore.open(url, write=True).close()
    return url


@pytest.fixture
def emptied(server, migrated) -> str:
    """The same database, with all tables emptied: to create one for each test would take a fifth of a second."""
    with server.connect("migrated") as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        filled = sql.SQL(", ").join(sql.Identifier(name) for name in names if not name.endswith("version"))
        connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(filled))
    return migrated


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    """A database without runs, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    return request.getfixturevalue("emptied")
