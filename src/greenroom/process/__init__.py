"""Starts, identifies and ends the processes of this computer, as groups.

It must not know what runs in them, or for whom.
"""
