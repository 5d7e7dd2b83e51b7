import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from greenroom.client.session import Session
from greenroom.clock import SystemClock, seconds_of
from greenroom.daemon.desk import Desk
from greenroom.daemon.facts import Outbox
from greenroom.daemon.harness import House
from greenroom.daemon.machine import Machine
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import LogShelf, RunBook
from greenroom.daemon.seat import Seat
from greenroom.domain.reliability import Reliability
from greenroom.domain.supervision import History
from greenroom.entropy import SystemEntropy
from greenroom.settings.project import Harness
from greenroom.wire.replies import TaskRef, Wish
from greenroom.wire.requests import Fact
from tests.unit.stand_in import Server, StandInTransport

LIMITS = Reliability(retry_pause_s=0.01, stop_grace_s=2.0)
ENVIRON = {"PATH": "/usr/bin:/bin", "GREENROOM_TOKEN": "of the operator", "SECRET": "s"}
WISH = Wish(
    room="room_1",
    room_name="r",
    role="builder",
    roles=("builder", "reviewer"),
    desired="running",
    generation=3,
    harness="sh",
    model=None,
    workdir=None,
)


class ScriptedDesk(Desk):
    """Sessions that lead to the scripted server."""

    def __init__(self, server: Server) -> None:
        super().__init__("http://127.0.0.1:1", lambda: None, Machine(id="m1", name="m1"), [], LIMITS)
        self._server = server
        self.lines: list[StandInTransport] = []

    def open_session(self) -> Session:
        self.lines.append(StandInTransport(self._server))
        return Session(self.url, None, LIMITS, self.lines[-1])


class Stage:
    """One seat with a scripted server before it and real processes behind it."""

    def __init__(
        self, tmp_path: Path, server: Server, script: str, wish: Wish = WISH, environ: dict[str, str] = ENVIRON
    ) -> None:
        self.server = server
        self.facts: list[Fact] = []
        self.ended = threading.Event()
        self.beats = threading.Event()
        entropy = SystemEntropy()  # runs are known by their ids: those of another test process must be others
        outbox = Outbox(self.facts.extend, LIMITS, entropy, lambda: None, lambda: None)
        outbox.start()
        self.book = RunBook(tmp_path / "runs")
        self.logs = tmp_path / "logs"
        harness = Harness(command=("sh", "-c", script), env={"OWN": "own"})
        self.desk = ScriptedDesk(server)
        premises = Premises(
            desk=self.desk,
            house=House({"sh": harness}, (), tmp_path / "work"),
            outbox=outbox,
            book=self.book,
            shelf=LogShelf(self.logs, 5),
            clock=SystemClock(),
            entropy=entropy,
            limits=LIMITS,
            environ=environ,
            is_connected=lambda: True,
            beat_now=self.beats.set,
        )
        self.seat = Seat(premises, wish, History(generation=wish.generation), self.ended.set)
        self.seat.start()

    def told(self) -> list[tuple[str, bool, int | None, int | None]]:
        return [(fact.kind, fact.intended, fact.code, fact.signal) for fact in self.facts]

    def wait_for_facts(self, count: int) -> list[Fact]:
        wait_until(lambda: len(self.facts) >= count, lambda: f"facts: {self.facts}")
        return self.facts

    def end(self, reason: str = "stopped by wish") -> None:
        self.seat.stop(reason)
        assert self.ended.wait(20), "the seat did not end"


def wait_until(condition: Callable[[], bool], say: Callable[[], str]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + 20
    while not condition():
        assert clock.monotonic() < deadline, say()
        threading.Event().wait(0.01)


def test_tasks_are_run_one_after_the_other_and_handed_on(tmp_path: Path) -> None:
    server = Server("task_1", "task_2")
    stage = Stage(tmp_path, server, 'cat; echo " by $OWN"')
    handed = server.wait_for("handoff", 2)
    stage.wait_for_facts(4)
    stage.end()
    assert [(body["to"], body["text"]) for body in handed] == [("reviewer", "build it by own\n")] * 2
    assert stage.told() == [("started", False, None, None), ("exited", True, 0, None)] * 2
    assert server.called("leave")[0]["cause"] == "stopped"
    assert {body["connection_id"] for body in server.called("claim")} == {stage.seat.connection_id}
    wait_until(lambda: list(stage.book.read_all()) == [], lambda: "the run stayed written down")
    assert stage.seat.history == History(generation=3)


def test_a_run_is_told_what_it_needs_and_no_other_secret(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "env | grep -E 'GREENROOM|SECRET' | sort")
    handed = server.wait_for("handoff")
    stage.end()
    assert handed[0]["text"].splitlines() == [
        "GREENROOM_ATTEMPT=1",
        f"GREENROOM_CONNECTION={stage.seat.connection_id}",
        f"GREENROOM_NOTES={tmp_path / 'logs' / 'r' / 'builder' / 'task_1.1' / 'notes'}",
        "GREENROOM_ROLE=builder",
        "GREENROOM_ROOM=r",
        "GREENROOM_TASK=task_1",
        "GREENROOM_TOKEN=token-of-task_1",
        "GREENROOM_URL=http://127.0.0.1:1",
    ]


def test_a_bad_end_is_a_fact_ends_the_sitting_and_rests(tmp_path: Path) -> None:
    server = Server("task_1", "task_2")
    stage = Stage(tmp_path, server, "echo it broke >&2; exit 7")
    assert stage.ended.wait(20)
    started, exited = stage.wait_for_facts(2)
    assert (started.kind, started.task, started.attempt) == ("started", "task_1", 1)
    assert (exited.intended, exited.code, exited.task, exited.attempt) == (False, 7, "task_1", 1)
    assert "it broke" in (exited.detail or "")
    assert exited.until is not None
    assert seconds_of(exited.until) > SystemClock().wall()
    assert stage.seat.history.ends == 1
    assert server.called("leave") == []  # the fact has ended the sitting
    assert server.waiting == ["task_2"]  # and no task is taken in between
    assert (stage.logs / "r" / "builder" / "task_1.1" / "stderr").read_text() == "it broke\n"


def test_an_agent_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "kill -9 $$")
    assert stage.ended.wait(20)
    assert stage.wait_for_facts(2)[1].signal == 9


def test_a_stop_ends_the_run_as_intended_and_leaves(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "sleep 1000")
    stage.wait_for_facts(1)
    stage.end("stopped by wish")
    stage.wait_for_facts(2)
    assert stage.told() == [("started", False, None, None), ("exited", True, None, 15)]
    assert server.called("leave")[0]["reason"] == "stopped by wish"
    assert server.called("handoff") == []
    assert stage.seat.history == History(generation=3)


def test_a_stop_of_an_idle_seat_leaves_at_once(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "true")
    server.wait_for("claim")
    stage.end()
    assert stage.facts == []
    assert len(server.called("leave")) == 1


def test_what_this_machine_may_not_run_takes_no_task(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "true", msgspec.structs.replace(WISH, harness="rm"))
    assert stage.ended.wait(20)
    fact = stage.wait_for_facts(1)[0]
    assert (fact.kind, fact.intended, fact.task) == ("exited", False, None)
    assert "defines no harness 'rm'" in (fact.detail or "")
    assert server.called("claim") == []
    assert stage.seat.history.ends == 1


def test_an_absent_server_is_waited_for(tmp_path: Path) -> None:
    server = Server("task_1")
    server.is_away = True
    stage = Stage(tmp_path, server, "cat")
    assert not stage.ended.wait(0.1)
    server.is_away = False
    server.wait_for("handoff")
    stage.end()


def test_a_role_that_somebody_took_is_yielded(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "sleep 1000")
    stage.wait_for_facts(1)
    stage.seat.yield_role()
    assert stage.ended.wait(20)
    assert stage.seat.history.has_yielded
    assert stage.wait_for_facts(2)[1].intended
    assert server.called("leave") == []


def test_a_join_whose_answer_was_lost_may_have_been_heard_and_is_taken_back(tmp_path: Path) -> None:
    server = Server()
    server.loses = {"join"}
    stage = Stage(tmp_path, server, "true")
    server.wait_for("join", 2)
    stage.end("the wish changed")
    assert [body["connection_id"] for body in server.called("leave")] == [stage.seat.connection_id]


def test_after_an_outage_no_call_is_made_on_a_line_from_before_it(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "cat")
    server.wait_for("claim")
    stage.seat.renew_claim()
    assert [line.drops for line in stage.desk.lines] == [1, 1]
    server.wait_for("claim", 2)
    stage.end()


def test_who_has_no_program_to_run_takes_no_task(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "true", environ={"PATH": str(tmp_path)})
    assert [(fact.kind, fact.task) for fact in stage.wait_for_facts(1)] == [("exited", None)]
    assert "no program 'sh'" in str(stage.facts[0].detail)
    assert server.called("claim") == []


def test_who_cannot_write_a_run_down_takes_no_task_and_tells_why(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    server = Server("task_1")
    stage = Stage(tmp_path, server, "true")
    assert [(fact.kind, fact.intended) for fact in stage.wait_for_facts(1)] == [("exited", False)]
    assert "runs" in str(stage.facts[0].detail)
    assert server.called("claim") == [], "the task is for somebody who can do it"
    assert stage.ended.wait(20)
    assert stage.seat.history.ends == 1


def test_a_disk_that_fills_up_before_a_run_ends_the_seat_with_a_word(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "true")
    server.wait_for("claim")
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("no folder")
    with server.changed:
        server.waiting.append("task_1")
        server.changed.notify_all()
    assert [(fact.kind, fact.intended) for fact in stage.wait_for_facts(1)] == [("exited", False)]
    assert stage.ended.wait(20)
    assert server.called("start") == []


def test_a_disk_that_fills_up_during_a_run_does_not_take_its_result(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    server = Server("task_1")
    stage = Stage(tmp_path, server, f"rm -r {runs}; touch {runs}; echo done")
    handed = server.wait_for("handoff")
    assert [body["text"] for body in handed] == ["done\n"]
    assert stage.wait_for_facts(2)[1].intended
    stage.end()


def test_a_claim_that_is_superseded_yields_too(tmp_path: Path) -> None:
    server = Server()
    problem = {"type": "t", "title": "t", "status": 409, "code": "superseded", "detail": "d", "guidance": "g"}
    server.claims = (409, problem)
    stage = Stage(tmp_path, server, "true")
    assert stage.ended.wait(20)
    assert stage.seat.history.has_yielded


def test_a_role_that_is_no_longer_ours_is_left_and_nobody_died(tmp_path: Path) -> None:
    server = Server()
    problem = {"type": "t", "title": "t", "status": 403, "code": "forbidden", "detail": "d", "guidance": "g"}
    server.claims = (403, problem)
    stage = Stage(tmp_path, server, "true")
    assert stage.ended.wait(20)
    assert stage.facts == []
    assert len(server.called("leave")) == 1
    assert stage.seat.history.rests_until is not None


def test_a_verdict_on_a_sitting_that_ended_by_its_own_word_is_not_a_takeover(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "exit 1")
    assert stage.ended.wait(20)
    stage.seat.yield_role()  # a beat was under way when the sitting ended
    assert not stage.seat.history.has_yielded
    assert stage.seat.history.ends == 1


def test_a_lost_seat_asks_for_a_beat_and_a_rejoin_renews_the_claim(tmp_path: Path) -> None:
    server = Server()
    problem = {"type": "t", "title": "t", "status": 409, "code": "rejoin_required", "detail": "d", "guidance": "g"}
    server.claims = (409, problem)
    stage = Stage(tmp_path, server, "cat")
    assert stage.beats.wait(20)
    server.claims = None
    session = Session("http://127.0.0.1:1", None, LIMITS, StandInTransport(server))
    stage.seat.join_again(session)
    assert {body["connection_id"] for body in server.called("join")} == {stage.seat.connection_id}
    with server.changed:
        server.waiting.append("task_1")
        server.changed.notify_all()
    server.wait_for("handoff")
    stage.end()


@pytest.mark.parametrize(
    ("status", "is_named", "is_stopped"),
    [("closed", False, True), ("in_progress", False, False), ("in_progress", True, False)],
    ids=["cancelled", "only a late word", "named"],
)
def test_a_run_that_the_server_does_not_name_is_asked_about(
    tmp_path: Path, status: str, is_named: bool, is_stopped: bool
) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "trap 'exit 0' TERM; sleep 1000 & wait")
    stage.wait_for_facts(1)
    server.status["task_1"] = status
    now = SystemClock().boottime()
    stage.seat.confirm(None, now - 3600)  # a word from before the run says nothing about it
    stage.seat.confirm(TaskRef("task_1", 1) if is_named else None, now)
    if is_stopped:
        assert stage.wait_for_facts(2)[1].intended
        server.wait_for("claim", 2)  # the sitting goes on
    elif not is_named:
        server.wait_for("task_1")  # asked about, it was confirmed
    else:
        assert server.called("task_1") == []
    stage.end()
    assert len(stage.wait_for_facts(2)) == 2
