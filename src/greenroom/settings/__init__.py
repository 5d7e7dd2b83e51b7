"""What a process was told before it started. Knows files and variables; must not know what they are used for."""
