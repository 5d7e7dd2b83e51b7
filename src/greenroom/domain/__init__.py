"""The rules. Knows nouns, tables and decisions; must not know clocks, threads, sockets or SQL."""
