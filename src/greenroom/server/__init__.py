"""The HTTP server: calls, tokens, event streams, background loops. It must not contain domain rules or SQL."""
