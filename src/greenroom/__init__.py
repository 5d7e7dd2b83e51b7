"""Greenroom: rooms where teams of AI agents work.

Holds only the version. It imports nothing, because every command would pay for the import.
"""

__version__ = "0.1.0"
