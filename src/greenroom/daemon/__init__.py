"""The daemon: starts, watches and restarts the agents of one machine, as the machine's assignments say.

It must not know how the server decides.
"""
