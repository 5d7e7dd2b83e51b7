from pathlib import Path

import msgspec
import pytest

from greenroom.client.session import Session
from greenroom.clock import SystemClock, seconds_of
from greenroom.domain.supervision import BACKING_OFF, PARKED, PAUSED, YIELDED, History
from greenroom.wire.replies import TaskRef
from tests.unit.stage import LIMITS, WISH, Stage
from tests.unit.stand_in import Server, StandInTransport
from tests.waiting import PATIENCE_S, wait_until


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
    wait_until(lambda: list(stage.book.read_all()) == [], "the record of the run is removed")
    assert stage.seat.history == History(generation=3)


def test_a_run_is_told_what_it_needs_and_no_other_secret(tmp_path: Path) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "env | grep -E 'GREENROOM|SECRET' | sort")
    handed = server.wait_for("handoff")
    stage.end()
    folder = stage.logs / "r" / "builder" / "task_1.1"
    assert handed[0]["text"].splitlines() == [
        "GREENROOM_ATTEMPT=1",
        f"GREENROOM_CONNECTION={stage.seat.connection_id}",
        f"GREENROOM_NOTES={folder / 'notes'}",
        f"GREENROOM_RESULT={folder / 'result.json'}",
        "GREENROOM_ROLE=builder",
        "GREENROOM_ROOM=r",
        "GREENROOM_TASK=task_1",
        "GREENROOM_TOKEN=token-of-task_1",
        "GREENROOM_URL=http://127.0.0.1:1",
    ]


def test_a_bad_end_is_a_fact_ends_the_sitting_and_rests(tmp_path: Path) -> None:
    server, before = Server("task_1", "task_2"), SystemClock().wall()
    stage = Stage(tmp_path, server, "echo it broke >&2; exit 7")
    assert stage.ended.wait(PATIENCE_S)
    started, exited = stage.wait_for_facts(2)
    assert (started.kind, started.task, started.attempt) == ("started", "task_1", 1)
    assert (exited.intended, exited.code, exited.task, exited.attempt) == (False, 7, "task_1", 1)
    assert "it broke" in (exited.detail or "")
    assert exited.until is not None
    assert seconds_of(exited.until) > before
    assert len(stage.seat.history.ends) == 1
    assert server.called("leave") == []  # the report has ended the participant
    assert server.waiting == ["task_2"]  # and no further task is claimed
    assert (stage.logs / "r" / "builder" / "task_1.1" / "stderr").read_text() == "it broke\n"


def test_an_agent_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "kill -9 $$")
    assert stage.ended.wait(PATIENCE_S)
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
    assert stage.ended.wait(PATIENCE_S)
    fact = stage.wait_for_facts(1)[0]
    assert (fact.kind, fact.intended, fact.task) == ("exited", False, None)
    assert "defines no harness 'rm'" in (fact.detail or "")
    assert server.called("claim") == []
    assert (stage.seat.history.rest, stage.seat.history.ends) == (BACKING_OFF, ())  # this is no failure


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
    assert stage.ended.wait(PATIENCE_S)
    assert stage.seat.history.rest == YIELDED
    assert stage.wait_for_facts(2)[1].intended
    assert server.called("leave") == []
    assert [body["if_vacant"] for body in server.called("join")] == [True]  # a daemon joins only a vacant role


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
    assert server.called("claim") == [], "the task stays for an agent that can run it"
    assert stage.ended.wait(PATIENCE_S)
    assert stage.seat.history.ends == ()


def check_given_back(stage: Stage) -> None:
    """Check that a task whose run could not start was given back, with a report of the reason, and no failure."""
    given_back, told = stage.wait_for_facts(2)
    assert (given_back.kind, given_back.intended, given_back.task) == ("exited", True, "task_1")
    assert (told.kind, told.intended, told.task) == ("exited", False, None)
    assert stage.ended.wait(PATIENCE_S)
    assert stage.seat.history.ends == ()


def test_a_disk_that_fills_up_before_a_run_ends_the_seat_with_a_word(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "true")
    server.wait_for("claim")
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("no folder")
    server.give("task_1")
    check_given_back(stage)
    assert server.called("start") == []


def test_where_no_folder_can_be_made_for_a_run_its_task_is_given_back(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "true")
    server.wait_for("claim")
    stage.logs.write_text("no folder")
    server.give("task_1")
    check_given_back(stage)
    assert str(stage.logs) in str(stage.facts[1].detail)


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
    assert stage.ended.wait(PATIENCE_S)
    assert stage.seat.history.rest == YIELDED


def test_a_role_that_is_no_longer_ours_is_left_and_nobody_died(tmp_path: Path) -> None:
    server = Server()
    problem = {"type": "t", "title": "t", "status": 403, "code": "forbidden", "detail": "d", "guidance": "g"}
    server.claims = (403, problem)
    stage = Stage(tmp_path, server, "true")
    assert stage.ended.wait(PATIENCE_S)
    assert stage.facts == []
    assert len(server.called("leave")) == 1
    assert stage.seat.history.rests_until is not None


def test_a_verdict_on_a_sitting_that_ended_by_its_own_word_is_not_a_takeover(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "exit 1")
    assert stage.ended.wait(PATIENCE_S)
    stage.seat.yield_role()  # a heartbeat was in flight when the participant ended
    assert stage.seat.history.rest == BACKING_OFF
    assert len(stage.seat.history.ends) == 1


def test_a_lost_seat_asks_for_a_beat_and_a_rejoin_renews_the_claim(tmp_path: Path) -> None:
    server = Server()
    problem = {"type": "t", "title": "t", "status": 409, "code": "rejoin_required", "detail": "d", "guidance": "g"}
    server.claims = (409, problem)
    stage = Stage(tmp_path, server, "cat")
    assert stage.beats.wait(PATIENCE_S)
    server.claims = None
    session = Session("http://127.0.0.1:1", None, LIMITS, StandInTransport(server))
    stage.seat.join_again(session)
    assert {body["connection_id"] for body in server.called("join")} == {stage.seat.connection_id}
    server.give("task_1")
    server.wait_for("handoff")
    stage.end()


@pytest.mark.parametrize(
    ("status", "is_named", "is_stopped"),
    [("closed", False, True), ("in_progress", False, False), ("in_progress", True, False)],
    ids=["cancelled", "outdated answer", "named"],
)
def test_a_run_that_the_server_does_not_name_is_asked_about(
    tmp_path: Path, status: str, is_named: bool, is_stopped: bool
) -> None:
    server = Server("task_1")
    stage = Stage(tmp_path, server, "trap 'exit 0' TERM; sleep 1000 & wait")
    stage.wait_for_facts(1)
    server.status["task_1"] = status
    now = SystemClock().boottime()
    stage.seat.confirm(None, now - 3600)  # an answer from before the run's start says nothing about the run
    stage.seat.confirm(TaskRef("task_1", 1) if is_named else None, now)
    if is_stopped:
        assert stage.wait_for_facts(2)[1].intended
        server.wait_for("claim", 2)  # the participant stays
    elif not is_named:
        server.wait_for("task_1")  # the server confirmed the task when it was asked
    else:
        assert server.called("task_1") == []
    stage.end()
    assert len(stage.wait_for_facts(2)) == 2


def test_a_command_that_cannot_be_started_gives_its_task_back_and_nobody_died(tmp_path: Path) -> None:
    server = Server()
    stage = Stage(tmp_path, server, "true")
    server.wait_for("claim")
    (stage.logs / "r" / "builder").mkdir(parents=True)
    (stage.logs / "r" / "builder" / "task_1.1").write_text("not a folder, so the run's files cannot be written")
    server.give("task_1")
    check_given_back(stage)
    assert stage.seat.history.rest == BACKING_OFF


def test_a_run_that_takes_longer_than_wished_is_stopped_and_counts_as_a_death(tmp_path: Path) -> None:
    wish = msgspec.structs.replace(WISH, task_timeout_s=0.3)
    stage = Stage(tmp_path, Server("task_1"), "sleep 1000", wish)
    assert stage.ended.wait(PATIENCE_S)
    exited = stage.wait_for_facts(2)[1]
    assert (exited.intended, exited.signal) == (False, 15)
    assert "did not end within its 0.3 s" in (exited.detail or "")
    assert len(stage.seat.history.ends) == 1


def test_an_exit_has_an_id_of_its_own_that_does_not_change(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "exit 1")
    assert stage.ended.wait(PATIENCE_S)
    run = f"task_1.1.{stage.seat.connection_id}"
    assert [fact.id for fact in stage.wait_for_facts(2)] == [f"started:{run}", f"exit:{run}"]
    assert {fact.generation for fact in stage.facts} == {3}


# Crash loops and pauses.


def died_often(count: int) -> History:
    """The history of an agent with that many failures, the last one just now."""
    now = SystemClock().boottime()
    return History(generation=3, ends=(now,) * count, in_a_row=count, last_end_at=now)


def on_trial() -> History:
    return History(generation=3, rest=PARKED, rests_until=0.0, reason="it died too often")


def test_one_death_too_many_parks_the_role(tmp_path: Path) -> None:
    before = SystemClock().wall()
    stage = Stage(tmp_path, Server("task_1"), "exit 1", history=died_often(LIMITS.park_after_ends - 1))
    assert stage.ended.wait(PATIENCE_S)
    _, exited, parked = stage.wait_for_facts(3)
    assert (exited.kind, exited.intended, exited.trial) == ("exited", False, False)
    assert (parked.kind, parked.until, parked.task) == ("parked", exited.until, "task_1")
    assert seconds_of(parked.until or "") >= before + LIMITS.park_pause_s - 0.01
    assert "3 unintended ends" in (parked.detail or "")
    assert stage.seat.history.rest == PARKED


def test_a_death_on_trial_parks_until_a_person_comes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Server("task_1"), "exit 1", history=on_trial())
    assert stage.ended.wait(PATIENCE_S)
    _, exited, parked = stage.wait_for_facts(3)
    assert (exited.trial, exited.until, parked.kind, parked.until) == (True, None, "parked", None)
    assert stage.seat.history.needs_person


def test_a_success_on_trial_unparks(tmp_path: Path) -> None:
    server = Server("task_1", "task_2")
    stage = Stage(tmp_path, server, "cat", history=on_trial())
    server.wait_for("handoff", 2)
    stage.wait_for_facts(5)
    stage.end()
    assert stage.kinds() == ["started", "exited", "unparked", "started", "exited"]
    assert stage.seat.history == History(generation=3)


@pytest.mark.parametrize("until", ["2099-01-01T00:00:00.000Z", None])
def test_an_agent_that_says_it_cannot_go_on_is_paused_and_nobody_died(tmp_path: Path, until: str | None) -> None:
    status = f'"rate_limited", "until": "{until}"' if until else '"login_required"'
    told = f'{{"status": {status}, "reason": "the month is over"}}'
    stage = Stage(tmp_path, Server("task_1", "task_2"), f"echo '{told}' > $GREENROOM_RESULT; exit 1")
    assert stage.ended.wait(PATIENCE_S)
    _, exited, paused = stage.wait_for_facts(3)
    assert (exited.kind, exited.intended, exited.task) == ("exited", True, "task_1")
    assert (paused.kind, "the month is over" in (paused.detail or "")) == ("paused", True)
    assert (paused.until or "")[:19] == (until or "")[:19]
    assert (stage.seat.history.rest, stage.seat.history.ends) == (PAUSED, ())
    assert stage.server.called("leave") == []  # the report has ended the participant
