"""Alembic migrations of the one database; new ones go to `versions/`, and `migrate.HEAD` names the last."""
