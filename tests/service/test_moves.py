"""A role runs on one machine. Assigned to another, it is taken over there at once, and its task follows."""

import pytest

from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import Conflict, Refused, Superseded
from greenroom.service.signals import wishes_key
from greenroom.wire.replies import ClaimedTask
from greenroom.wire.requests import Fact
from tests.service.house import House


class Fleet(House):
    """Two machines with a daemon each. The builder is assigned to m1, and a1 is present there and holds a task."""

    def __init__(self) -> None:
        super().__init__()
        self.room(max_requests=5)
        for machine in ("m1", "m2"):
            self.register(machine)
            self.beats(machine)
        self.wish("builder", machine="m1")
        self.sits("m1", "a1")
        self.send()
        self.task_in_hand = self.claims("m1", "a1")

    def beats(self, machine: str, *connections: str) -> list[str]:
        """Send one beat of a machine that names those connections, and return their verdicts."""
        self.caller = Caller(scope=MACHINE, machine=machine)
        held = [("builder", connection) for connection in connections]
        reply = self.beat_machine(*held, machine=machine, incarnation=f"{machine}.1")
        self.caller = THE_OPERATOR
        return [agent.status for agent in reply.agents]

    def sits(self, machine: str, connection: str) -> str:
        """Let a machine's daemon join the builder, only if the role is vacant, as daemons do."""
        self.caller = Caller(scope=MACHINE, machine=machine)
        try:
            return self.join("builder", connection, if_vacant=True).status
        finally:
            self.caller = THE_OPERATOR

    def claims(self, machine: str, connection: str) -> ClaimedTask | None:
        self.caller = Caller(scope=MACHINE, machine=machine)
        try:
            return self.claim("builder", connection)
        finally:
            self.caller = THE_OPERATOR

    def stopped(self, machine: str, connection: str) -> None:
        """Let a machine's daemon report that it stopped the run."""
        task = self.task_in_hand
        assert task is not None
        told = Fact(
            id=f"exit.{connection}",
            kind="exited",
            room="r",
            role="builder",
            connection_id=connection,
            task=task.id,
            attempt=1,
            signal=15,
            intended=True,
        )
        self.caller = Caller(scope=MACHINE, machine=machine)
        self.report(told, machine=machine, incarnation=f"{machine}.1")
        self.caller = THE_OPERATOR

    def runs_on(self) -> list[str]:
        """The machines whose beat is answered `ok` for the builder they once held."""
        return [machine for machine, held in (("m1", "a1"), ("m2", "b1")) if self.beats(machine, held) == ["ok"]]

    def status(self) -> tuple[str, str | None]:
        view = self.look().roles[0]
        return view.status, view.status_reason


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_the_new_machine_takes_the_seat_at_once_and_the_task_when_the_old_one_has_stopped(fleet: Fleet) -> None:
    woken: list[str] = []
    fleet.wish("builder", machine="m2")
    assert fleet.runs_on() == ["m1"]
    fleet.world.signals.watch(wishes_key("m1"), lambda: woken.append("m1"))
    assert fleet.sits("m2", "b1") == "ok"
    assert woken == ["m1"]
    assert fleet.runs_on() == ["m2"]
    assert fleet.claims("m2", "b1") is None
    fleet.stopped("m1", "a1")
    claimed = fleet.claims("m2", "b1")
    assert claimed is not None
    assert fleet.task_in_hand is not None
    assert (claimed.id, claimed.attempt, claimed.deaths) == (fleet.task_in_hand.id, 2, 0)


def test_what_the_old_one_had_written_is_kept(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    fleet.sits("m2", "b1")
    assert fleet.task_in_hand is not None
    fleet.caller = Caller(scope=MACHINE, machine="m1")
    with pytest.raises(Superseded):
        fleet.complete(fleet.task_in_hand.id, "a1", 1, "nearly done")
    fleet.caller = THE_OPERATOR
    assert [late.text for late in fleet.task(fleet.task_in_hand.id).late_results] == ["nearly done"]


def test_until_then_it_is_shown_as_being_moved(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    assert fleet.status() == ("stopping", "the role was moved from machine m1 to machine m2")
    fleet.sits("m2", "b1")
    assert fleet.status()[0] == "waiting"


def test_an_old_machine_that_is_cut_off_holds_nothing_up_and_is_fenced_when_it_is_back(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    assert fleet.sits("m2", "b1") == "ok"
    fleet.pass_time(fleet.limits.takeover_grace_s + 1)
    assert fleet.claims("m2", "b1") is not None
    while fleet.machine("m1").daemon_connected:
        fleet.pass_time(20)
        fleet.beats("m2", "b1")
    assert fleet.runs_on() == ["m2"]


def test_one_that_had_fallen_silent_does_not_get_it_back(fleet: Fleet) -> None:
    while fleet.machine("m1").daemon_connected:
        fleet.pass_time(20)
        fleet.beats("m2")
    fleet.wish("builder", machine="m2")
    assert fleet.beats("m1", "a1") == ["superseded"]
    assert fleet.sits("m2", "b1") == "ok"
    assert fleet.runs_on() == ["m2"]


def test_back_before_the_other_sat_down_nothing_was_taken_over(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    fleet.wish("builder", machine="m1")
    with pytest.raises(Refused):
        fleet.sits("m2", "b1")
    assert fleet.runs_on() == ["m1"]
    with pytest.raises(Conflict, match="taken by a1"):
        fleet.sits("m1", "a2")


def test_back_and_forth_the_task_waits_for_the_first_run_to_stop(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    fleet.sits("m2", "b1")
    fleet.wish("builder", machine="m1")
    assert fleet.sits("m1", "a2") == "ok"
    assert (fleet.beats("m1", "a1", "a2"), fleet.beats("m2", "b1")) == (["superseded", "ok"], ["superseded"])
    fleet.wish("builder", machine="m2")
    assert fleet.sits("m2", "b2") == "ok"
    assert (fleet.beats("m1", "a1", "a2"), fleet.beats("m2", "b2")) == (["superseded", "superseded"], ["ok"])
    assert fleet.claims("m2", "b2") is None
    fleet.stopped("m1", "a1")
    claimed = fleet.claims("m2", "b2")
    assert claimed is not None
    assert (claimed.attempt, claimed.deaths) == (2, 0)


def test_moved_while_it_is_stopped_nobody_sits_down_and_the_old_agent_is_told(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m1", desired="stopped")
    fleet.wish("builder", machine="m2", desired="stopped")
    assert ([wish.desired for wish in fleet.wishes("m2").wishes], fleet.wishes("m1").wishes) == (["stopped"], ())
    assert fleet.status()[0] == "stopping"
    fleet.caller = Caller(scope=MACHINE, machine="m1")
    assert fleet.leave("builder", "a1", cause="stopped") == "ok"
    fleet.caller = THE_OPERATOR
    assert fleet.status()[0] == "stopped"


def test_given_to_a_person_and_back_the_persons_seat_is_left_to_them(fleet: Fleet) -> None:
    fleet.wish("builder", machine=None)
    assert fleet.status() == ("stopping", "the role was moved from machine m1 to a person")
    assert fleet.join("builder", "person").status == "ok"
    fleet.wish("builder", machine="m2")
    with pytest.raises(Conflict, match="taken by person"):
        fleet.sits("m2", "b1")
    fleet.leave("builder", "person")
    assert fleet.sits("m2", "b1") == "ok"


def test_only_the_machine_that_is_wished_takes_over(fleet: Fleet) -> None:
    fleet.wish("builder", machine="m2")
    with pytest.raises(Conflict, match="taken by a1 on machine m1"):
        fleet.join("builder", "person", if_vacant=True)
