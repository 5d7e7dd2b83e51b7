"""Greenroom. Knows its version; imports nothing, because every command would pay for it."""

__version__ = "0.1.0"
