"""Durable state: tables, SQL statements, database engines and the one writer. Must not know why a row changes."""
