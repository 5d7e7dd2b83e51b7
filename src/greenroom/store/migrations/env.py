"""How Alembic runs the revisions: on the connection that it is given, in the transaction that stands there already.

Must not know any revision. Alembic loads this file by its path; nobody imports it.
"""

from alembic import context

from greenroom.store.migrating import revisions

# Tables are given only to have a revision drafted: their naming convention would name a second time what is named.
given = context.config.attributes
context.configure(
    connection=given["connection"],
    target_metadata=given.get("tables"),
    version_table=revisions.name,
    render_as_batch=True,
)
context.run_migrations()
