"""Migrations of the schema. A database of a newer evoflash is rejected and left unchanged."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from evoflash.errors import StorageError
from evoflash.version import __version__

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "evoflash_alembic_version"  # Optuna uses `alembic_version` in the same file
HEAD = "0007"


def revision(connection: Connection) -> str | None:
    """The revision of the schema, or None for a database without evoflash's tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def refuse_newer(connection: Connection, where: str) -> None:
    """Checks that the schema is known to this version.

    Raises:
        StorageError: when the database was written by a newer evoflash.
    """
    found = revision(connection)
    if found in (None, HEAD):
        return
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if found not in known:
        raise StorageError(
            f"{where} was written by a newer evoflash (schema {found}; evoflash {__version__} has {HEAD}) and "
            "was not changed; upgrade with `pip install -U evoflash`, or give another database with --db"
        )


def upgrade(connection: Connection) -> None:
    """Runs the missing migrations within the connection's transaction."""
    if revision(connection) == HEAD:
        return
    from alembic import command

    command.upgrade(config(connection), "head")


def config(connection: Connection | None = None) -> "Config":
    """Alembic's settings for the migrations in this package; there is no alembic.ini."""
    import importlib.resources

    from alembic.config import Config

    settings = Config()
    folder = str(importlib.resources.files("evoflash.store") / "migrations")
    settings.set_main_option("script_location", folder.replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings
