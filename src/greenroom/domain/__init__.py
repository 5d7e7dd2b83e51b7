"""The rules: records, tables and decisions as plain data. Must not know clocks, threads, sockets or SQL."""
