"""The way from each schema to the next, on both databases. Knows Alembic; must not know why a column is there."""
