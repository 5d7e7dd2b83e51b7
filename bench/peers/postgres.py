"""Runs a PostgreSQL in a folder, shared by the systems that need one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import processes


class Postgres:
    """A running server that creates databases."""

    def __init__(self, client: processes.PeerClient) -> None:
        self._client = client

    def database(self, name: str) -> str:
        """Create an empty database; its URL."""
        return str(self._client.call("database", name))


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Start one with its default settings, on a socket in the file system; stop it when the block ends."""
    home = folder / "postgres"
    home.mkdir()
    with processes.start_client(home, "postgres", str(home / "data")) as client:
        yield Postgres(client)
