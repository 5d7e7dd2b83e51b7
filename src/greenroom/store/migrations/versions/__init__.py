"""One module for each revision of the schema, in order. Each is self-contained: it imports no current tables."""
