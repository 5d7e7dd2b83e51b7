"""The first beat of a new incarnation corrects what the server has recorded about a machine."""

from greenroom.domain.caller import THE_OPERATOR
from greenroom.wire.requests import Fact
from tests.service.house import House
from tests.service.team import DAEMON, claimed, seat_for_daemon


class Crashed(House):
    """Machine m1 with agents a and b, a with a task; its daemon, incarnation i1, has just been killed."""

    def __init__(self) -> None:
        super().__init__()
        seat_for_daemon(self)
        self.send()
        self.held = claimed(self, "a").id
        self.caller = DAEMON

    def present(self) -> list[str]:
        return [each.connection_id for each in self.look().participants]

    def fate(self) -> tuple[str, str | None, int]:
        task = self.task(self.held)
        return task.status, task.released_cause, task.deaths

    def fall_silent(self) -> None:
        """Let time pass until machine and agents have expired."""
        self.pass_time(self.limits.daemon_heartbeat_ttl_s + 2)
        assert self.present() == []

    def report_exit(self, intended: bool = False) -> None:
        told = Fact(
            id="exit:a",
            kind="exited",
            room="r",
            role="builder",
            connection_id="a",
            task=self.held,
            attempt=1,
            code=1,
            intended=intended,
        )
        self.report(told, incarnation="i2")


def test_whom_the_new_daemon_adopted_stays_with_the_task_in_hand() -> None:
    house = Crashed()
    reply = house.beat_machine(("builder", "a"), incarnation="i2")
    assert [(agent.status, agent.task.id if agent.task else None) for agent in reply.agents] == [("ok", house.held)]
    assert (house.present(), house.fate()) == (["a"], ("acknowledged", None, 0))
    assert house.complete(house.held, "a", 1).status == "completed"


def test_whom_it_adopted_comes_back_when_all_were_counted_as_gone() -> None:
    house = Crashed()
    house.fall_silent()
    house.beat_machine(("builder", "a"), incarnation="i2")
    assert (house.present(), house.fate()) == (["a"], ("acknowledged", None, 0))


def test_also_when_the_task_was_given_free_and_nobody_had_claimed_it() -> None:
    house = Crashed()
    house.fall_silent()
    house.pass_time(house.limits.task_lost_after_s + 2)
    assert house.fate() == ("pending", "lost", 0)
    reply = house.beat_machine(("builder", "a"), incarnation="i2")
    assert [agent.task.id if agent.task else None for agent in reply.agents] == [house.held]
    assert house.fate() == ("acknowledged", None, 0)


def test_whom_it_does_not_name_is_gone_at_once_and_what_they_held_is_free() -> None:
    house = Crashed()
    house.beat_machine(("reviewer", "b"), incarnation="i2")
    assert (house.present(), house.fate()) == (["b"], ("pending", "exited", 1))


def test_so_is_one_that_was_counted_as_gone_before() -> None:
    """Its task must not wait for a holder that cannot return."""
    house = Crashed()
    house.fall_silent()
    assert house.fate()[0] == "acknowledged"
    house.beat_machine(incarnation="i2")
    assert house.fate() == ("pending", "exited", 1)
    assert house.beat_machine(("builder", "a"), incarnation="i2").agents[0].status == "superseded"


def test_what_a_new_daemon_reports_before_its_first_beat_counts() -> None:
    house = Crashed()
    house.report_exit(intended=True)
    assert house.fate() == ("pending", "stopped", 0)
    house.beat_machine(incarnation="i2")
    assert (house.present(), house.fate()) == ([], ("pending", "stopped", 0))


def test_what_it_reports_counts_once_although_the_inventory_says_the_same() -> None:
    house = Crashed()
    house.report_exit()
    house.beat_machine(incarnation="i2")
    house.report_exit()
    assert house.fate() == ("pending", "exited", 1)


def test_one_that_is_gone_with_its_role_holds_up_no_beat() -> None:
    house = Crashed()
    house.caller = THE_OPERATOR
    house.cancel(house.held)
    house.fall_silent()
    house.change(roles=["reviewer"], entry_role="reviewer")
    house.caller = DAEMON
    assert house.beat_machine(("reviewer", "b"), incarnation="i2").agents[0].status == "ok"
