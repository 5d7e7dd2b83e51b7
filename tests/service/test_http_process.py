"""The server as a process: how it starts, what it writes to disk, and how it exits."""

import errno
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from greenroom.cli.doctor_checks import advise_on_unreachable_server
from greenroom.domain.errors import Unavailable
from greenroom.file_lock import directory_error
from greenroom.server.listener import listen
from tests.unit.agent_commands import make_settings
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

SERVER_SCRIPT = """
import sys
from pathlib import Path
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.server.run import serve
from greenroom.server.settings import ServerSettings
parent = int(sys.argv[3]) if len(sys.argv) > 3 else None
settings = ServerSettings(data_dir=Path(sys.argv[1]), port=int(sys.argv[2]), parent_descriptor=parent)
sys.exit(serve(settings, DEFAULT_LIMITS))
"""


class ServerProcess:
    """One server process and what it prints."""

    def __init__(self, data_dir: Path, port: int = 0, follow: int | None = None) -> None:
        extra = [] if follow is None else [str(follow)]
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER_SCRIPT, str(data_dir), str(port), *extra],
            stderr=subprocess.PIPE,
            pass_fds=[] if follow is None else [follow],
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self.stderr = self.process.stderr

    def wait_until_ready(self) -> str:
        """Wait for the line with the address, and return the address."""
        for line in self.stderr:
            if line.startswith("listening on "):
                return line.removeprefix("listening on ").strip()
        raise AssertionError(f"the server exited with {self.process.wait()}")

    def wait_for_exit(self) -> int:
        return self.process.wait(PATIENCE_S)

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit((self.data_dir / "server.url").read_text().strip())
        return http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)

    def headers(self, **extra: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data_dir / 'operator.token').read_text().strip()}", **extra}


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[type[ServerProcess]]:
    started: list[ServerProcess] = []

    class TrackedServerProcess(ServerProcess):
        def __init__(self, data_dir: Path, port: int = 0, follow: int | None = None) -> None:
            super().__init__(data_dir, port, follow)
            started.append(self)

    yield TrackedServerProcess
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        server.stderr.close()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_clean_exit_with_open_streams_and_claims(
    start_server: type[ServerProcess], tmp_path: Path, signal_number: signal.Signals
) -> None:
    server = start_server(tmp_path)
    url = server.wait_until_ready()
    assert url == (tmp_path / "server.url").read_text().strip()
    assert 0o600 == (tmp_path / "operator.token").stat().st_mode & 0o777
    json = server.headers(**{"Content-Type": "application/json"})
    join_connection, stream_connection, claim_connection = server.connect(), server.connect(), server.connect()
    create_room_and_join(join_connection, json)
    stream_connection.request("GET", "/api/v1/events", headers=server.headers(Accept="text/event-stream"))
    events = stream_connection.getresponse()
    assert b"id: " == events.read(4)
    body = '{"role":"builder","connection_id":"A","wait_s":20}'
    claim_connection.request("POST", "/api/v1/rooms/r/tasks/claim", body, json)
    wait_until_claim_waits(server)

    server.process.send_signal(signal_number)

    assert 204 == claim_connection.getresponse().status
    assert b"participant.joined" in events.read()
    assert 0 == server.wait_for_exit()
    for connection in (join_connection, stream_connection, claim_connection):
        connection.close()


def create_room_and_join(connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    """Create a room and join it."""
    for path, body, status in (
        ("/api/v1/rooms", '{"name":"r","roles":["builder"]}', 201),
        ("/api/v1/rooms/r/participants/builder/join", '{"connection_id":"A"}', 200),
    ):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        assert status == answer.status, answer.read()
        answer.read()


def wait_until_claim_waits(server: ServerProcess) -> None:
    """Wait until the server counts one open claim."""
    connection = server.connect()

    def is_counted() -> bool:
        connection.request("GET", "/metrics", headers=server.headers())
        return b"greenroom_waits 1.0" in connection.getresponse().read()

    wait_until(is_counted, "the server counts the claim")
    connection.close()


@pytest.mark.parametrize("names", [("greenroom.db", "greenroom.db-wal", "greenroom.db-shm"), ("greenroom.db-wal",)])
@pytest.mark.parametrize("replaced", [False, True])
def test_server_ends_when_its_database_is_removed(
    start_server: type[ServerProcess], tmp_path: Path, names: tuple[str, ...], replaced: bool
) -> None:
    """No later request is answered as done, and the exit code is one that is not restarted."""
    server = start_server(tmp_path)
    server.wait_until_ready()
    json = server.headers(**{"Content-Type": "application/json"})
    connection = server.connect()
    create_room_and_join(connection, json)
    for name in names:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        if replaced:
            (tmp_path / name).write_bytes(content)
    try:
        connection.request("POST", "/api/v1/rooms/r/messages", '{"sender":"user","text":"paint"}', json)
        assert 503 == connection.getresponse().status
    except OSError:
        pass  # The server has ended already.
    assert 78 == server.wait_for_exit()
    connection.close()
    log = server.stderr.read()
    assert f"The database was lost: {tmp_path / names[0]}" in log
    assert "Put the files back" in log


def test_log_stays_while_the_server_writes_again_and_again(start_server: type[ServerProcess], tmp_path: Path) -> None:
    """SQLite removes its log with the last connection: that is no loss, and must not look like one."""
    server = start_server(tmp_path)
    server.wait_until_ready()
    json = server.headers(**{"Content-Type": "application/json"})
    connection = server.connect()
    create_room_and_join(connection, json)
    before = (tmp_path / "greenroom.db-wal").stat().st_ino
    for _ in range(20):
        connection.request("POST", "/api/v1/rooms/r/messages", '{"sender":"user","text":"' + "a" * 500_000 + '"}', json)
        answer = connection.getresponse()
        assert 201 == answer.status, answer.read()
        answer.read()
    connection.close()
    assert before == (tmp_path / "greenroom.db-wal").stat().st_ino


def test_server_waits_while_its_disk_is_full(start_server: type[ServerProcess], tmp_path: Path) -> None:
    """No file may grow beyond 4 KiB, until the limit is lifted; the server was not started again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        server = start_server(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line = server.stderr.readline()
    assert line.startswith(f"greenroom server: waiting for its store: Cannot open {tmp_path / 'greenroom.db'}")
    assert "Free some space" in line
    assert "waiting for its store" in advise_on_unreachable_server(make_settings("http://127.0.0.1:1", tmp_path))

    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    server.wait_until_ready()


def test_data_directory_on_a_full_disk_is_no_wrong_configuration(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert isinstance(directory_error(tmp_path, full), Unavailable)


def test_missing_address_can_be_tried_again() -> None:
    """A network interface may come up after the server, so it ends with a code that is restarted."""
    with pytest.raises(Unavailable, match="does not have that address now"):
        listen("192.0.2.1", 0)


def test_second_server_on_same_directory(start_server: type[ServerProcess], tmp_path: Path) -> None:
    start_server(tmp_path).wait_until_ready()

    second = start_server(tmp_path)

    assert 78 == second.wait_for_exit()
    assert "already running" in second.stderr.read()


def test_server_exits_after_losing_lock(start_server: type[ServerProcess], tmp_path: Path) -> None:
    first = start_server(tmp_path)
    first.wait_until_ready()
    (tmp_path / "server.lock").unlink()

    assert 1 == first.wait_for_exit()
    assert "lock on the data directory was lost" in first.stderr.read()


def test_address_in_use(start_server: type[ServerProcess], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start_server(tmp_path, taken.getsockname()[1])

        assert 78 == server.wait_for_exit()
        assert "--listen" in server.stderr.read()


def test_server_exits_with_its_parent(start_server: type[ServerProcess], tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    server = start_server(tmp_path, follow=read_end)
    os.close(read_end)
    server.wait_until_ready()

    os.close(write_end)

    assert 0 == server.wait_for_exit()


def test_restart_after_kill_keeps_state(start_server: type[ServerProcess], tmp_path: Path) -> None:
    first = start_server(tmp_path)
    first.wait_until_ready()
    json = first.headers(**{"Content-Type": "application/json"})
    connection = first.connect()
    create_room_and_join(connection, json)
    connection.close()
    first.process.kill()
    first.process.wait()

    second = start_server(tmp_path)
    second.wait_until_ready()
    connection = second.connect()
    connection.request("POST", "/api/v1/rooms/r/participants/builder/heartbeat", '{"connection_id":"A"}', json)

    assert b'"status":"ok"' in connection.getresponse().read()
    connection.close()
