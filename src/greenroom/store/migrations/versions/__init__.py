"""One module for each step of the schema, in order. Each stands alone: it must not know the tables of today."""
