"""The client of the API: calls, retries, heartbeats and runs of tasks. Must not know how the server answers."""
