"""One agent's way of waiting and working. Knows its role and task; must not know the server's inside."""
