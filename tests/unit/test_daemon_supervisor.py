from collections.abc import Callable

from greenroom.clock import MovedClock
from greenroom.daemon.supervisor import Supervisor
from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.supervision import History, ended, yielded
from greenroom.wire.replies import Wish, Wishes


class FakeSeat:
    """A seat that ends when it is told to."""

    def __init__(self, wish: Wish, history: History, on_end: Callable[[], None]) -> None:
        self.wish, self.history, self.on_end = wish, history, on_end
        self.is_started = False
        self.reasons: list[str] = []

    def start(self) -> None:
        self.is_started = True

    def stop(self, reason: str) -> None:
        self.reasons.append(reason)


class Desk:
    """A supervisor under a moved clock, and every seat that it made."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.made: list[FakeSeat] = []
        self.supervisor: Supervisor[FakeSeat] = Supervisor(self.make, self.clock, lambda: None)

    def make(self, wish: Wish, history: History, on_end: Callable[[], None]) -> FakeSeat:
        self.made.append(FakeSeat(wish, history, on_end))
        return self.made[-1]

    def wish(self, *roles: str, desired: str = "running", generation: int = 1) -> float:
        wishes = tuple(
            Wish(
                room="room_1",
                room_name="r",
                role=role,
                roles=roles,
                desired=desired,
                generation=generation,
                harness="h",
                model=None,
                workdir=None,
            )
            for role in roles
        )
        self.supervisor.take_wishes(Wishes(version=generation, wishes=wishes))
        return self.supervisor.step()

    def roles(self) -> list[str]:
        return [seat.wish.role for seat in self.supervisor.seats()]


def test_what_is_wished_is_seated_once() -> None:
    desk = Desk()
    desk.wish("builder", "reviewer")
    desk.supervisor.step()
    assert desk.roles() == ["builder", "reviewer"]
    assert [seat.is_started for seat in desk.made] == [True, True]


def test_a_stop_is_asked_for_once_and_the_role_stays_empty() -> None:
    desk = Desk()
    desk.wish("builder")
    desk.wish("builder", desired="stopped", generation=2)
    desk.supervisor.step()
    assert desk.made[0].reasons == ["stopped by wish"]
    desk.made[0].on_end()
    desk.supervisor.step()
    assert desk.roles() == []


def test_a_wish_that_is_gone_stops_its_seat() -> None:
    desk = Desk()
    desk.wish("builder", "reviewer")
    desk.wish("reviewer")
    assert [seat.reasons for seat in desk.made] == [["stopped by wish"], []]


def test_a_new_generation_is_a_new_seat_and_only_after_the_old_has_ended() -> None:
    desk = Desk()
    desk.wish("builder")
    desk.wish("builder", generation=2)
    assert desk.made[0].reasons == ["the wish changed"]
    assert len(desk.made) == 1
    desk.made[0].on_end()
    desk.supervisor.step()
    assert [seat.wish.generation for seat in desk.made] == [1, 2]


def test_nothing_stale_is_carried_out() -> None:
    desk = Desk()
    desk.supervisor.take_wishes(Wishes(version=1, wishes=()))
    for generation, desired in ((1, "running"), (2, "stopped"), (3, "running"), (4, "stopped")):
        wish = Wish(
            room="room_1",
            room_name="r",
            role="builder",
            roles=("builder",),
            desired=desired,
            generation=generation,
            harness="h",
            model=None,
            workdir=None,
        )
        desk.supervisor.take_wishes(Wishes(version=generation, wishes=(wish,)))
    desk.supervisor.step()
    assert desk.made == []


def test_a_death_is_followed_by_a_rest_and_then_by_a_new_seat() -> None:
    desk = Desk()
    desk.wish("builder")
    died = desk.made[0]
    died.history = ended(died.history, 1, desk.clock.boottime(), 0.5, DEFAULTS)
    died.on_end()
    wait_s = desk.supervisor.step()
    assert wait_s == 1.5
    assert desk.roles() == []
    desk.clock.sleep(wait_s)  # a machine that sleeps rests as well
    desk.supervisor.step()
    assert desk.roles() == ["builder"]
    assert desk.made[1].history.ends == 1


def test_a_role_that_somebody_took_is_looked_at_again_after_an_interval() -> None:
    desk = Desk()
    desk.wish("builder")
    desk.made[0].history = yielded(1, desk.clock.boottime(), DEFAULTS)
    desk.made[0].on_end()
    assert desk.supervisor.step() == DEFAULTS.daemon_heartbeat_interval_s
    assert desk.roles() == []
    desk.clock.move(DEFAULTS.daemon_heartbeat_interval_s)
    desk.supervisor.step()
    assert desk.roles() == ["builder"]


def test_the_end_of_the_daemon_stops_every_seat_and_makes_no_new_one() -> None:
    desk = Desk()
    desk.wish("builder", "reviewer")
    assert not desk.supervisor.stop("the daemon was stopped", 0.0)
    assert [seat.reasons for seat in desk.made] == [["the daemon was stopped"]] * 2
    for seat in desk.made:
        seat.on_end()
    assert desk.supervisor.stop("the daemon was stopped", 0.0)
    desk.supervisor.step()
    assert len(desk.made) == 2
