"""Configures Alembic to run the revisions on the given connection, in its open transaction.

Alembic loads this file by its path; no module imports it.
"""

from alembic import context

from greenroom.store.migrations.runner import revisions

# Tables are passed only to draft a revision: otherwise their naming convention would name constraints a second time.
attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes.get("tables"),
    version_table=revisions.name,
    render_as_batch=True,
)
context.run_migrations()
