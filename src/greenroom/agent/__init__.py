"""The commands by which one agent waits for tasks and works on them. Must not know how the server works inside."""
