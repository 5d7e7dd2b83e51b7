"""Upgrades of the schema with Alembic, from each revision to the next, on both databases."""
