"""Runs the command line as `python -m greenroom`, without the installed script."""

import sys

from greenroom.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
