"""The PostgreSQL engine: sessions, the lock of the writer's session, and outages. Must not know what is stored."""
