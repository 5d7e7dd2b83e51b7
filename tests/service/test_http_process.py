"""The server as a process: how it starts, what it writes to disk, and how it exits."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

START = """
import sys
from pathlib import Path
from greenroom.domain.reliability import DEFAULTS
from greenroom.server.run import serve
from greenroom.server.settings import ServerSettings
follow = int(sys.argv[3]) if len(sys.argv) > 3 else None
sys.exit(serve(ServerSettings(data_dir=Path(sys.argv[1]), port=int(sys.argv[2]), follow=follow), DEFAULTS))
"""


class Served:
    """One server process and what it prints."""

    def __init__(self, data_dir: Path, port: int = 0, follow: int | None = None) -> None:
        more = [] if follow is None else [str(follow)]
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(data_dir), str(port), *more],
            stderr=subprocess.PIPE,
            pass_fds=[] if follow is None else [follow],
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self.lines = self.process.stderr

    def ready(self) -> str:
        """Wait for the line with the address, and return the address."""
        for line in self.lines:
            if line.startswith("listening on "):
                return line.removeprefix("listening on ").strip()
        raise AssertionError(f"the server exited with {self.process.wait()}")

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit((self.data_dir / "server.url").read_text().strip())
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)

    def headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data_dir / 'operator.token').read_text().strip()}", **more}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[type[Served]]:
    made: list[Served] = []

    class Kept(Served):
        def __init__(self, data_dir: Path, port: int = 0, follow: int | None = None) -> None:
            super().__init__(data_dir, port, follow)
            made.append(self)

    yield Kept
    for server in made:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        server.lines.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_with_streams_and_waits_open(serve: type[Served], tmp_path: Path, number: signal.Signals) -> None:
    server = serve(tmp_path)
    url = server.ready()
    assert url == (tmp_path / "server.url").read_text().strip()
    assert 0o600 == (tmp_path / "operator.token").stat().st_mode & 0o777
    json = server.headers(**{"Content-Type": "application/json"})
    line, stream, wait = server.connect(), server.connect(), server.connect()
    sit_down(line, json)
    stream.request("GET", "/api/v1/events", headers=server.headers(Accept="text/event-stream"))
    events = stream.getresponse()
    assert b":" == events.read(1)
    body = '{"role":"builder","connection_id":"A","wait_s":20}'
    wait.request("POST", "/api/v1/rooms/r/tasks/claim", body, json)
    wait_until_it_waits(server)

    server.process.send_signal(number)

    assert 204 == wait.getresponse().status
    assert b"participant.joined" in events.read()
    assert 0 == server.ended()
    for connection in (line, stream, wait):
        connection.close()


def sit_down(line: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    """Create a room and join it."""
    for path, body, status in (
        ("/api/v1/rooms", '{"name":"r","roles":["builder"]}', 201),
        ("/api/v1/rooms/r/participants/builder/join", '{"connection_id":"A"}', 200),
    ):
        line.request("POST", path, body, headers)
        answer = line.getresponse()
        assert status == answer.status, answer.read()
        answer.read()


def wait_until_it_waits(server: Served) -> None:
    """Wait until the server counts one open claim."""
    line = server.connect()

    def stands() -> bool:
        line.request("GET", "/metrics", headers=server.headers())
        return b"greenroom_waits 1.0" in line.getresponse().read()

    wait_until(stands, "the server counts the claim")
    line.close()


def test_a_second_server_on_the_same_directory(serve: type[Served], tmp_path: Path) -> None:
    serve(tmp_path).ready()

    second = serve(tmp_path)

    assert 78 == second.ended()
    assert "already running" in second.lines.read()


def test_a_server_that_lost_its_lock_writes_no_more_and_ends(serve: type[Served], tmp_path: Path) -> None:
    first = serve(tmp_path)
    first.ready()
    (tmp_path / "server.lock").unlink()

    assert 1 == first.ended()
    assert "lock on the data directory was lost" in first.lines.read()


def test_an_address_that_is_taken(serve: type[Served], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = serve(tmp_path, taken.getsockname()[1])

        assert 78 == server.ended()
        assert "--listen" in server.lines.read()


def test_it_ends_with_who_started_it(serve: type[Served], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    server = serve(tmp_path, follow=ours)
    os.close(ours)
    server.ready()

    os.close(theirs)

    assert 0 == server.ended()


def test_killed_and_started_again_it_remembers(serve: type[Served], tmp_path: Path) -> None:
    first = serve(tmp_path)
    first.ready()
    json = first.headers(**{"Content-Type": "application/json"})
    line = first.connect()
    sit_down(line, json)
    line.close()
    first.process.kill()
    first.process.wait()

    second = serve(tmp_path)
    second.ready()
    line = second.connect()
    line.request("POST", "/api/v1/rooms/r/participants/builder/heartbeat", '{"connection_id":"A"}', json)

    assert b'"status":"ok"' in line.getresponse().read()
    line.close()
