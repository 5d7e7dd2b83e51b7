"""`greenroom.testing`: agents and clients call a real server over HTTP, and time passes only when it is advanced."""

import io
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from greenroom import testing
from greenroom.agent import report, wait
from greenroom.domain.errors import GreenroomError, NotFound, Superseded, Unauthorized, Unavailable
from greenroom.exit_codes import ExitCode
from greenroom.settings.harness import DaemonSettings
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import CreateRoom, SendMessage

ROOM = CreateRoom(name="shop", roles=["builder", "reviewer"])


def test_lease_runs_out_only_as_time_is_advanced() -> None:
    with testing.server() as server:
        client = server.client()
        client.create_room(ROOM)
        client.join("shop", "builder", "A")
        assert "ok" == client.beat("shop", "builder", "A").status

        server.advance(server.limits.heartbeat_ttl_s + 2)

        assert "rejoin_required" == client.beat("shop", "builder", "A").status
        assert "participant.expired" == client.room_events("shop")[-1].type


def test_clock_moved_without_sweep_is_absence_of_server() -> None:
    with testing.server() as server:
        client = server.client()
        client.create_room(ROOM)
        client.join("shop", "builder", "A")

        server.clock.advance(server.limits.heartbeat_ttl_s + 2)
        server.advance(1)

        assert "ok" == client.beat("shop", "builder", "A").status


def test_agent_commands_do_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENROOM_CONNECTION", raising=False)
    with testing.server() as server:
        client = server.client()
        client.create_room(ROOM)
        client.send_message("shop", SendMessage(sender="user", text="build it"))
        settings = Settings(
            url=server.url,
            token=server.token,
            data_dir=tmp_path,
            database=None,
            limits=server.limits,
            project=None,
            user_daemon=DaemonSettings(),
            origins={},
        )
        out = io.StringIO()
        waiting = Namespace(room="shop", role="builder", timeout=None, take_over=False, json=False)
        handing = Namespace(task=None, attempt=None, room=None, role=None, json=False, text="built", to="reviewer")

        assert ExitCode.DONE == wait.run(waiting, settings, out, out)
        assert ExitCode.DONE == report.run_handoff(handing, settings, out, out)

        assert "build it" in out.getvalue()
        [built, reviewed] = client.tasks("shop")
        assert ("completed", "reviewer") == (built.status, built.handed_to)
        assert ("pending", "reviewer") == (reviewed.status, reviewed.target_role)


def test_stopped_server_is_unreachable() -> None:
    with testing.server() as server:
        client = server.client()
        assert [] == client.rooms()
    with pytest.raises(Unavailable):
        client.rooms()


def test_token_and_errors_are_those_of_a_server() -> None:
    with testing.server() as server:
        with pytest.raises(Unauthorized):
            server.client("another").rooms()
        client = server.client()
        with pytest.raises(NotFound):
            client.snapshot("shop")
        client.create_room(ROOM)
        client.join("shop", "builder", "A")
        client.join("shop", "builder", "B")
        with pytest.raises(Superseded):
            client.claim("shop", "builder", "A")


def test_same_seed_makes_same_ids() -> None:
    def first_room(seed: int) -> str:
        with testing.server(seed=seed) as server:
            return server.client().create_room(ROOM).id

    assert first_room(1) == first_room(1) != first_room(2)


def test_failed_start_is_raised() -> None:
    class BrokenClock(testing.MovedClock):
        def monotonic(self) -> float:
            raise GreenroomError("no time", "none")

    with pytest.raises(GreenroomError, match="no time"), testing.server(clock=BrokenClock()):
        pass


@pytest.mark.process
def test_no_test_framework_is_needed() -> None:
    code = "import sys, greenroom.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    assert "uvicorn" in loaded
    assert set() == set(loaded) & {"pytest", "_pytest", "hypothesis", "schemathesis"}


@pytest.mark.process
def test_client_and_server_share_a_process() -> None:
    """The client's own copy of `http.client` has no TLS; the server's libraries need one that has."""
    code = (
        "import sys; from greenroom.client.api_client import ApiClient; assert 'ssl' not in sys.modules\n"
        "from greenroom import testing; from http.client import HTTPSConnection\n"
        "with testing.server() as server: print(server.client().rooms())"
    )
    completed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert ("[]\n", "") == (completed.stdout, completed.stderr)
