"""What people and shells type. Knows verbs, flags and exit codes; must not know how anything is decided or stored."""
