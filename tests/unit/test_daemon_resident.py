"""The runner of a resident, between a fake server and real processes."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.clock import SystemClock, seconds_of
from greenroom.daemon.premises import Premises
from greenroom.daemon.resident import ResidentSeat
from greenroom.daemon.residents import Resident, ResidentBook, marks_of
from greenroom.daemon.runs import Run
from greenroom.domain import supervision
from greenroom.domain.supervision import BACKING_OFF, PARKED, PAUSED, YIELDED, History
from greenroom.process.group import Group
from greenroom.process.identity import is_alive
from greenroom.process.journal import command_in, wrapper_in
from greenroom.wire.replies import JoinReply, TaskRef, Wish
from tests.unit.scripted import answer, joined
from tests.unit.stage import LIMITS, WISH, Stage
from tests.unit.stand_in import Server
from tests.waiting import PATIENCE_S, wait_until

STAYS = "echo here; sleep 1000 & wait"


class Residence(Stage):
    """A stage whose role runner keeps a resident process."""

    seat: ResidentSeat

    def __init__(self, tmp_path: Path, server: Server, script: str, stays: Resident | None = None, **more: Any) -> None:
        self.residents = ResidentBook(tmp_path / "residents")
        self.stays = stays
        self.script = script
        self.well_s = more.pop("well_s", LIMITS.restart_reset_s)
        super().__init__(tmp_path, server, script, **more)

    def make_seat(self, premises: Premises, wish: Wish, history: History, adopted: Run | None) -> ResidentSeat:
        limits = msgspec.structs.replace(LIMITS, restart_reset_s=self.well_s)
        return ResidentSeat(replace(premises, limits=limits), self.residents, wish, history, self.ended.set, self.stays)

    @property
    def folder(self) -> Path:
        return self.logs / "r" / "builder" / f"{self.seat.connection_id}.1"

    def written_down(self) -> list[Resident]:
        paths = sorted((self.logs.parent / "residents").glob("*.json"))
        return [msgspec.json.decode(path.read_bytes(), type=Resident) for path in paths]


def test_a_process_is_kept_and_ended_with_all_that_it_started(tmp_path: Path) -> None:
    server = Server()
    stage = Residence(tmp_path, server, STAYS)
    stage.wait_for_facts(1)
    assert stage.seat.is_seated
    assert [stage.seat.connection_id] == [each.connection_id for each in stage.written_down()]
    command = command_in(stage.folder)
    assert command is not None
    stage.end("stopped by wish")
    stage.wait_for_facts(2)
    assert [("started", False), ("exited", True)] == [(fact.kind, fact.intended) for fact in stage.facts]
    assert [f"started:{stage.seat.connection_id}", f"exit:{stage.seat.connection_id}"] == [f.id for f in stage.facts]
    assert {None} == {fact.task for fact in stage.facts}
    assert not is_alive(command)
    assert "stopped by wish" == server.called("leave")[0]["reason"]
    assert [] == server.called("claim"), "the resident claims its tasks itself"
    assert [] == stage.written_down()
    assert History(generation=3) == stage.seat.history


def test_it_is_told_its_role_and_no_secret_but_its_own(tmp_path: Path) -> None:
    stage = Residence(tmp_path, Server(), "env | grep -E 'GREENROOM|SECRET' | sort; exit 3")
    assert stage.ended.wait(PATIENCE_S)
    assert [
        f"GREENROOM_CONNECTION={stage.seat.connection_id}",
        f"GREENROOM_DATA_DIR={stage.folder / 'agent'}",
        f"GREENROOM_RESULT={stage.folder / 'result.json'}",
        "GREENROOM_ROLE=builder",
        "GREENROOM_ROOM=room_1",
        "GREENROOM_TOKEN=of-the-role",
        "GREENROOM_URL=http://127.0.0.1:1",
    ] == (stage.folder / "stdout").read_text().splitlines()


@pytest.mark.parametrize(
    ("script", "code", "signal"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)]
)
def test_its_end_is_unintended_whatever_its_code(
    tmp_path: Path, script: str, code: int | None, signal: int | None
) -> None:
    server = Server()
    stage = Residence(tmp_path, server, f"echo it broke >&2; {script}")
    assert stage.ended.wait(PATIENCE_S)
    _, exited = stage.wait_for_facts(2)
    assert ("exited", False, code, signal) == (exited.kind, exited.intended, exited.code, exited.signal)
    assert "it broke" in str(exited.detail)
    assert exited.until is not None
    assert BACKING_OFF == stage.seat.history.rest
    assert 1 == len(stage.seat.history.ends)
    assert [] == server.called("leave"), "the report has ended the participant"
    assert [] == stage.written_down()


def test_what_it_says_of_a_limit_pauses_it(tmp_path: Path) -> None:
    said = '{"status": "login_required", "reason": "log in again"}'
    stage = Residence(tmp_path, Server(), f"echo '{said}' > $GREENROOM_RESULT; exit 1")
    assert stage.ended.wait(PATIENCE_S)
    stage.wait_for_facts(3)
    assert ["started", "exited", "paused"] == stage.kinds()
    assert (True, None) == (stage.facts[1].intended, stage.facts[2].until)
    assert "log in again" in str(stage.facts[2].detail)
    assert (PAUSED, ()) == (stage.seat.history.rest, stage.seat.history.ends)


def test_a_limit_that_has_passed_is_not_met_again_at_once(tmp_path: Path) -> None:
    said, before = '{"status": "rate_limited", "until": "2020-01-01T00:00:00Z"}', SystemClock().wall()
    stage = Residence(tmp_path, Server(), f"echo '{said}' > $GREENROOM_RESULT; exit 1")
    assert stage.ended.wait(PATIENCE_S)
    stage.wait_for_facts(3)
    assert PAUSED == stage.seat.history.rest
    assert seconds_of(str(stage.facts[2].until)) > before + 1


def test_one_that_has_lived_long_enough_is_well(tmp_path: Path) -> None:
    parked = History(generation=3, rest=PARKED, rests_until=1.0, ends=(0.0, 0.5, 1.0))
    stage = Residence(tmp_path, Server(), STAYS, history=parked, well_s=0.3)
    stage.wait_for_facts(2)
    assert ["started", "unparked"] == stage.kinds()
    assert not stage.seat.history.is_parked
    stage.end()


def test_a_death_on_trial_waits_for_a_person(tmp_path: Path) -> None:
    parked = History(generation=3, rest=PARKED, rests_until=1.0, ends=(0.0, 0.5, 1.0))
    stage = Residence(tmp_path, Server(), "exit 1", history=parked)
    stage.wait_for_facts(3)
    assert ["started", "exited", "parked"] == stage.kinds()
    assert (True, None) == (stage.facts[1].trial, stage.facts[2].until)
    assert stage.ended.wait(PATIENCE_S)
    assert stage.seat.history.needs_person


def test_a_task_that_takes_too_long_is_a_death(tmp_path: Path) -> None:
    wish = msgspec.structs.replace(WISH, task_timeout_s=0.5)
    stage = Residence(tmp_path, Server(), STAYS, wish=wish)
    stage.wait_for_facts(1)
    assert not stage.ended.wait(0.7), "a resident without a task has no time limit"
    stage.seat.confirm(TaskRef("task_1", 1), 0.0)
    stage.seat.confirm(TaskRef("task_1", 1), 0.0)
    assert stage.ended.wait(PATIENCE_S)
    assert (False, "Task task_1 was not done within 0.5 s, so its agent was stopped.") == (
        stage.facts[1].intended,
        stage.facts[1].detail,
    )
    assert 1 == len(stage.seat.history.ends)


def test_who_can_run_nothing_starts_nothing(tmp_path: Path) -> None:
    server = Server()
    stage = Residence(tmp_path, server, "true", environ={"PATH": str(tmp_path)})
    assert stage.ended.wait(PATIENCE_S)
    [fact] = stage.wait_for_facts(1)
    assert ("exited", False) == (fact.kind, fact.intended)
    assert "no program 'sh'" in str(fact.detail)
    assert (BACKING_OFF, ()) == (stage.seat.history.rest, stage.seat.history.ends), "this is no failure"
    assert [] == server.called("token")


def test_where_no_folder_can_be_made_for_it_nobody_died(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    stage = Residence(tmp_path, Server(), STAYS)
    assert stage.ended.wait(PATIENCE_S)
    [fact] = stage.wait_for_facts(1)
    assert str(stage.logs) in str(fact.detail)
    assert (BACKING_OFF, ()) == (stage.seat.history.rest, stage.seat.history.ends)


def test_a_role_that_somebody_took_is_yielded(tmp_path: Path) -> None:
    server = Server()
    stage = Residence(tmp_path, server, STAYS)
    stage.wait_for_facts(1)
    stage.seat.yield_role()
    assert stage.ended.wait(PATIENCE_S)
    assert stage.wait_for_facts(2)[1].intended
    assert YIELDED == stage.seat.history.rest
    assert [] == server.called("leave")


def test_one_that_heard_of_the_takeover_before_us_did_not_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    asked = server.answer
    joins: list[JoinReply] = [joined(), joined(status="superseded")]

    def told(path: str, body: Any, is_dropped: Any) -> Any:
        said = asked(path, body, is_dropped)
        return answer(joins.pop(0)) if path.endswith("/join") else said

    monkeypatch.setattr(server, "answer", told)
    stage = Residence(tmp_path, server, "exit 9")
    assert stage.ended.wait(PATIENCE_S)
    assert stage.wait_for_facts(2)[1].intended
    assert (YIELDED, ()) == (stage.seat.history.rest, stage.seat.history.ends)


def test_an_absent_server_is_waited_for(tmp_path: Path) -> None:
    server = Server()
    server.is_away = True
    stage = Residence(tmp_path, server, STAYS)
    assert not stage.ended.wait(0.1)
    server.is_away = False
    stage.wait_for_facts(1)
    stage.end()


LEFT = f"conn_left_{os.getpid()}"
"""Processes are found by their connection, so that each test process needs a connection of its own."""


def left_behind(tmp_path: Path, script: str, connection_id: str = LEFT) -> Resident:
    """Start a resident process as a killed daemon leaves it behind."""
    folder = tmp_path / "logs" / "r" / "builder" / f"{connection_id}.1"
    marks = marks_of(connection_id)
    Group.spawn(("sh", "-c", script), Path("/"), {"PATH": os.environ["PATH"], **marks}, b"", folder, marks)
    return Resident(connection_id=connection_id, wish=WISH, folder=str(folder), began_at=SystemClock().wall())


def test_one_that_an_earlier_daemon_left_is_kept_on(tmp_path: Path) -> None:
    server = Server()
    resident = left_behind(tmp_path, STAYS)
    wrapper = wrapper_in(Path(resident.folder))
    assert wrapper is not None
    stage = Residence(tmp_path, server, "exit 1", stays=resident)
    assert stage.seat.is_seated
    assert LEFT == stage.seat.connection_id
    stage.wait_for_facts(1)
    assert is_alive(wrapper)
    assert [] == server.called("join")
    stage.end()
    assert not is_alive(wrapper)
    assert [f"started:{LEFT}", f"exit:{LEFT}"] == [fact.id for fact in stage.wait_for_facts(2)]


def test_one_that_ended_unwatched_is_told_as_it_ended(tmp_path: Path) -> None:
    resident = left_behind(tmp_path, "exit 5")
    wait_until(lambda: (Path(resident.folder) / "exit.json").exists(), "the resident has ended")
    stage = Residence(tmp_path, Server(), "true", stays=resident)
    assert stage.ended.wait(PATIENCE_S)
    exited = stage.wait_for_facts(2)[1]
    assert (f"exit:{LEFT}", False, 5) == (exited.id, exited.intended, exited.code)


def test_one_that_was_never_started_is_no_death(tmp_path: Path) -> None:
    resident = Resident(connection_id=LEFT, wish=WISH, folder=str(tmp_path / "nothing"), began_at=SystemClock().wall())
    server = Server()
    stage = Residence(tmp_path, server, "true", stays=resident)
    assert stage.ended.wait(PATIENCE_S)
    assert [("exited", True)] == [(fact.kind, fact.intended) for fact in stage.wait_for_facts(1)]
    assert [LEFT] == [body["connection_id"] for body in server.called("leave")]
    assert supervision.History(generation=3) == stage.seat.history


def test_of_one_role_only_the_newest_is_kept_on(tmp_path: Path) -> None:
    book = ResidentBook(tmp_path / "residents")
    older, newer = (left_behind(tmp_path, STAYS, f"{LEFT}_{name}") for name in ("older", "newer"))
    elsewhere = msgspec.structs.replace(
        left_behind(tmp_path, STAYS, f"{LEFT}_elsewhere"), wish=msgspec.structs.replace(WISH, role="reviewer")
    )
    for each in (newer, older, elsewhere):
        book.note(each)
    (tmp_path / "residents" / "odd.json").write_text("{}")
    assert [newer] == book.take_over({("room_1", "reviewer")}, lambda _: False)
    assert [False, True, False] == [is_alive(wrapper_of(each)) for each in (older, newer, elsewhere)]
    assert [f"{newer.connection_id}.json", "odd.unreadable"] == sorted(
        path.name for path in (tmp_path / "residents").iterdir()
    )
    Group.adopt(Path(newer.folder), newer.marks).stop(0)  # type: ignore[union-attr]


def wrapper_of(resident: Resident) -> Any:
    return wrapper_in(Path(resident.folder))
