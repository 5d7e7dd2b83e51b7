"""Processes of this computer. Knows groups, signals and identities; must not know what runs in them or for whom."""
