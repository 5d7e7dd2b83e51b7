"""A daemon that reports only what it must is understood: no `until`, no `trial`, no `generation`, and no leave."""

from typing import Any

import msgspec
import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.wire.requests import Fact
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")
OTHER = Caller(scope=MACHINE, machine="m2")


class Plain:
    """A third party's daemon, which sends only the required fields."""

    def __init__(self) -> None:
        self.house = House()
        self.house.room(max_requests=5)
        for machine in ("m1", "m2"):
            self.house.register(machine)
            self.house.beat_machine(machine=machine)
        self.house.wish("builder")
        self.told = 0

    def sit(self, connection: str, caller: Caller = DAEMON) -> None:
        self.house.caller = caller
        assert self.house.join("builder", connection).status == "ok"
        self.house.caller = THE_OPERATOR

    def take(self, connection: str) -> tuple[str, int]:
        claimed = self.house.working_as(DAEMON, "builder", connection)
        return claimed.id, claimed.attempt

    def tell(self, kind: str, connection: str, caller: Caller = DAEMON, **more: Any) -> None:
        self.told += 1
        body = {
            "id": f"f{self.told}",
            "kind": kind,
            "room": "r",
            "role": "builder",
            "connection_id": connection,
            **more,
        }
        fact = msgspec.convert(body, Fact)
        self.house.caller = caller
        assert self.house.report(fact, machine=caller.machine or "").accepted == 1
        self.house.caller = THE_OPERATOR

    def die(self, connection: str) -> str:
        """Claim a new task and report an exit with code 1."""
        task, attempt = self.take(connection)
        self.tell("exited", connection, task=task, attempt=attempt, code=1)
        return task

    @property
    def shown(self) -> tuple[str, str | None]:
        role = self.house.look().roles[0]
        return role.status, role.status_until

    @property
    def participants(self) -> list[str]:
        return [each.connection_id for each in self.house.look().participants]

    @property
    def needs(self) -> set[str]:
        raised: set[str] = set()
        for event in self.house.events():
            if event.type.startswith("attention."):
                change = raised.add if event.type == "attention.raised" else raised.discard
                change(event.data["key"].partition(":")[0])
        return raised


@pytest.fixture
def plain() -> Plain:
    return Plain()


# Exits.


def test_one_that_died_backs_off_as_long_as_any_may_unless_it_is_back_before(plain: Plain) -> None:
    plain.die("c1")
    longest = instant_of(plain.house.clock.wall() + plain.house.limits.restart_pause_s_max)
    rests = plain.shown
    plain.sit("c2")
    assert (rests, plain.shown) == (("backing_off", longest), ("waiting", None))


def test_what_does_not_say_whether_an_end_was_intended_tells_of_a_death(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.tell("exited", "c1", task=task, attempt=attempt, intended=None)
    assert (plain.house.task(task).status, plain.house.task(task).deaths) == ("pending", 1)


def test_one_that_is_stopped_by_wish_is_stopped_with_its_exit(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.house.wish("builder", desired="stopped")
    assert plain.shown[0] == "stopping"
    plain.tell("exited", "c1", task=task, attempt=attempt, signal=15, intended=True)
    assert (plain.shown[0], plain.participants) == ("stopped", [])
    assert (plain.house.task(task).status, plain.house.task(task).deaths) == ("pending", 0)


def test_one_that_is_stopped_because_its_room_is_closed_is_stopped_with_its_exit(plain: Plain) -> None:
    plain.sit("c1")
    plain.house.close_room()
    plain.tell("exited", "c1", code=0, intended=True)
    assert (plain.shown[0], plain.participants) == ("stopped", [])


def test_one_that_is_moved_makes_room_with_its_exit(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.house.wish("builder", machine="m2")
    plain.tell("exited", "c1", task=task, attempt=attempt, signal=15, intended=True)
    assert (plain.shown[0], plain.participants) == ("starting", [])


def test_one_that_ended_a_run_as_expected_keeps_its_seat(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.tell("exited", "c1", task=task, attempt=attempt, code=0, intended=True)
    assert (plain.shown[0], plain.participants) == ("waiting", ["c1"])


def test_the_exit_of_one_that_was_moved_away_leaves_whoever_came_in_its_seat(plain: Plain) -> None:
    plain.sit("c1")
    plain.house.wish("builder", machine="m2")
    plain.sit("d1", OTHER)
    plain.tell("exited", "c1", code=0, intended=True)
    assert (plain.shown[0], plain.participants) == ("waiting", ["d1"])


# Crash-looping.


def test_whoever_is_parked_and_sits_down_again_is_on_trial(plain: Plain) -> None:
    plain.die("c1")
    plain.tell("parked", "c1")
    assert (plain.shown, plain.needs) == (("parked", None), {"parked"})
    plain.sit("c2")
    assert (plain.shown, plain.needs) == (("waiting", None), set())
    assert (plain.house.look().roles[0].status_reason or "").startswith("on trial after it was parked")
    plain.tell("unparked", "c2")
    assert plain.house.look().roles[0].status_reason is None


def test_whoever_does_a_task_on_trial_is_parked_no_more(plain: Plain) -> None:
    plain.die("c1")
    plain.tell("parked", "c1")
    task, attempt = plain.take("c2")
    plain.house.complete(task, "c2", attempt)
    assert (plain.shown[0], plain.house.look().roles[0].status_reason) == ("waiting", None)
    plain.tell("unparked", "c2")
    assert plain.shown[0] == "waiting"


def test_a_person_who_does_a_task_of_a_parked_role_does_not_end_its_rest(plain: Plain) -> None:
    plain.die("c1")
    plain.tell("parked", "c1")
    done = plain.house.working("builder", "p1")
    plain.house.complete(done.id, "p1", done.attempt)
    plain.house.leave("builder", "p1")
    assert (plain.shown[0], plain.needs) == ("parked", {"parked"})


def test_a_death_on_trial_is_known_as_one(plain: Plain) -> None:
    plain.die("c1")
    plain.tell("parked", "c1")
    task, attempt = plain.take("c2")
    deaths = plain.house.task(task).deaths
    plain.tell("exited", "c2", task=task, attempt=attempt, signal=9)
    assert plain.house.task(task).status == "pending"
    assert plain.house.task(task).deaths == deaths, "a failed probe run counted against its task"
    assert (plain.shown, plain.needs) == (("parked", None), {"parked"})
    exited = [event for event in plain.house.events() if event.type == "agent.exited"]
    assert [event.data["trial"] for event in exited] == [False, True]


def test_a_death_after_a_person_started_it_anew_is_none_on_trial(plain: Plain) -> None:
    plain.die("c1")
    plain.tell("parked", "c1")
    plain.house.wish("builder", desired="stopped")
    plain.house.wish("builder")
    task = plain.die("c2")
    assert (plain.house.task(task).deaths, plain.shown[0]) == (2, "backing_off")


def test_one_that_is_told_to_be_parked_before_it_is_told_to_have_died_is_both(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.tell("parked", "c1")
    assert plain.participants == []
    plain.tell("exited", "c1", task=task, attempt=attempt, code=1)
    assert (plain.house.task(task).status, plain.house.task(task).deaths) == ("pending", 1)
    assert (plain.shown[0], plain.needs) == ("parked", {"parked"})


def test_one_that_is_told_to_be_paused_before_it_is_told_to_have_ended_stays_so(plain: Plain) -> None:
    task, attempt = plain.take("c1")
    plain.tell("paused", "c1")
    plain.tell("exited", "c1", task=task, attempt=attempt, code=1)
    assert (plain.house.task(task).status, plain.house.task(task).deaths) == ("pending", 0)
    assert (plain.shown[0], plain.needs) == ("paused", {"paused"})
