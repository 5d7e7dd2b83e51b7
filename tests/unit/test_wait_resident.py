"""`wait-for-task` in a resident process: it sends claims, and leaves the participant to the daemon."""

import errno
import io
import os
import signal
from pathlib import Path

import pytest

from greenroom.agent import claim_file, report
from greenroom.agent.claim_file import Wanted
from greenroom.agent.residence import connection_of
from greenroom.domain.errors import Superseded, Unusable
from tests.unit.calling import Call, Said, interrupted_by
from tests.unit.scripted import answer, claimed, nothing, refusal, task_of
from tests.unit.tiny_server import TinyServer

KEPT = {"GREENROOM_ROOM": "room_1", "GREENROOM_ROLE": "builder", "GREENROOM_CONNECTION": "conn_kept"}


@pytest.fixture
def server(server: TinyServer, no_harness: None, monkeypatch: pytest.MonkeyPatch) -> TinyServer:
    for name, value in (KEPT | {"GREENROOM_URL": server.url, "GREENROOM_TOKEN": "t"}).items():
        monkeypatch.setenv(name, value)
    return server


def test_a_task_is_got_under_the_daemon_s_connection(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    assert 0 == call.wait(take_over=True)
    assert ["POST claim"] == server.asked(), "no join, no beat, no leave"
    sent = dict(server.seen)["POST claim"]
    assert ("conn_kept", False) == (sent["connection_id"], sent["hand_over"])
    assert "build it" in call.out.getvalue()
    assert ["conn_kept"] == [claim.connection_id for claim in call.claims()]
    assert [] == call.files("sittings")


def test_the_end_of_a_wait_leaves_the_seat_alone(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: nothing()
    call = Call(server.url, tmp_path)
    assert 75 == call.wait(timeout=0.1)
    assert "call again" in call.err.getvalue()
    assert {"POST claim"} == set(server.asked())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_seat_alone(server: TinyServer, tmp_path: Path, number: signal.Signals) -> None:
    server.answers["POST claim"] = interrupted_by(number)
    call = Call(server.url, tmp_path)
    assert 130 == call.wait()
    assert {"POST claim"} == set(server.asked())


def test_a_task_that_cannot_be_printed_is_given_again(server: TinyServer, tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    call = Call(server.url, tmp_path)
    call.out = Full()
    assert 1 == call.wait()
    assert [] == call.files("claims")
    assert "It is given again by: greenroom wait-for-task demo --role builder" in call.err.getvalue()
    assert {"POST claim"} == set(server.asked())


def test_a_seat_that_is_another_s_ends_the_wait(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = lambda server, body: refusal("superseded")
    with pytest.raises(Superseded):
        Call(server.url, tmp_path).wait()
    assert ["POST claim"] == server.asked()


def test_later_commands_mean_the_task_of_this_sitting(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()  # the room by its name, while the environment has its id
    server.answers["POST complete"] = lambda server, body: answer(task_of(status="completed"))
    said = Said(server.url, tmp_path)
    assert 0 == said.say(report.run_complete, text="done")
    assert "greenroom wait-for-task demo --role builder" in said.out.getvalue()


def test_that_it_was_told_to_stop_is_for_the_daemon_to_say(server: TinyServer, tmp_path: Path) -> None:
    Call(server.url, tmp_path).wait()
    server.answers["POST complete"] = lambda server, body: refusal("superseded")
    assert 4 == Said(server.url, tmp_path).say(report.run_complete, text="done")
    assert {"POST claim", "POST complete"} == set(server.asked())


def test_who_is_kept_in_which_role_is_told_by_the_whole_environment() -> None:
    told = KEPT | {"GREENROOM_URL": "http://a/", "GREENROOM_TOKEN": "t"}
    assert "conn_kept" == connection_of(told, "http://a", "builder")
    assert connection_of(told, "http://a", "reviewer") is None
    assert connection_of(told, "http://b", "builder") is None
    assert connection_of(told | {"GREENROOM_TASK": "task_1"}, "http://a", "builder") is None
    assert connection_of(told | {"GREENROOM_TOKEN": ""}, "http://a", "builder") is None
    assert connection_of(KEPT, "http://a", "builder") is None


def test_a_claim_of_another_sitting_is_not_meant(server: TinyServer, tmp_path: Path) -> None:
    call = Call(server.url, tmp_path)
    call.wait()
    other = dict(os.environ) | {"GREENROOM_CONNECTION": "conn_other"}
    with pytest.raises(Unusable):
        claim_file.choose(tmp_path, server.url, Wanted(), other)
    assert claimed().id == claim_file.choose(tmp_path, server.url, Wanted(), os.environ).task
