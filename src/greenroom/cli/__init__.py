"""The command line: verbs, options, output and exit codes. Must not know how anything is decided or stored."""
