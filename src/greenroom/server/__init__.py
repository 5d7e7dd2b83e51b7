"""The door that answers. Knows HTTP, tokens and streams; must not know a rule or a statement of SQL."""
