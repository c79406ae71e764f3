"""Alembic's environment: migrations run on the connection that the store hands over, in its transaction."""

from alembic import context

from evoflash.store.migrate import VERSION_TABLE
from evoflash.store.models import Base

connection = context.config.attributes["connection"]
ours = Base.metadata.tables
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    # Optuna's tables in the same file are none of our business.
    include_name=lambda name, kind, _parents: kind != "table" or name in ours,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
