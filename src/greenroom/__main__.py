"""`python -m greenroom`: the command line without its script. Must not know any verb."""

import sys

from greenroom.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
