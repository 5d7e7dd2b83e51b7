"""The JSON of requests, replies and problems, shared by client and server. Must not know either."""
