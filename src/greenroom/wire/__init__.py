"""How requests, replies and problems are spelled. Shared by who asks and who answers; must not know either."""
