"""Remembering. Knows tables, statements and the one writer; must not know why a row changes."""
