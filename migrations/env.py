"""Alembic's entry: migrations run on the connection, and in the transaction, of `reconcile state upgrade`."""

from alembic import context

from reconciler.state.schema import VERSION_TABLE
from reconciler.state.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
