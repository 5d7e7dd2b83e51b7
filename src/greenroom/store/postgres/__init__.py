"""PostgreSQL as the place where things are remembered. Knows sessions and their lock; must not know what is stored."""
