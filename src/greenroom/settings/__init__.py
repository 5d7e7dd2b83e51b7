"""The settings of a process: from flags, environment variables and files.

It must not know what they are used for.
"""
