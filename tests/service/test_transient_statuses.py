"""A passing status says when it should be over; after that it says that it is overdue and where to look."""

import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


@pytest.fixture
def service() -> House:
    new_service = House()
    new_service.room()
    new_service.register()
    return new_service


def join_daemon_agent(service: House) -> House:
    """Let the builder's daemon join."""
    service.beat_machine()
    service.wish("builder")
    service.caller = DAEMON
    service.join("builder", "a")
    service.caller = THE_OPERATOR
    service.beat_machine(("builder", "a"))
    return service


def builder_status(service: House) -> tuple[str, str | None, str | None]:
    view = service.look().roles[0]
    return view.status, view.status_reason, view.status_until


def instant_in(service: House, seconds: float) -> str:
    return instant_of(service.clock.wall() + seconds)


def pass_time_with_beats(service: House, seconds: float, *agents: tuple[str, str]) -> None:
    """Let time pass while the machine beats."""
    while seconds > 0:
        service.pass_time(min(seconds, 25))
        seconds -= 25
        service.beat_machine(*agents)


def test_starting_counts_from_agent_spec(service: House) -> None:
    service.beat_machine()
    pass_time_with_beats(service, 100)
    service.wish("builder")
    assert builder_status(service) == (
        "starting",
        "machine m1 is about to start the agent",
        instant_in(service, service.limits.start_timeout_s),
    )


def test_starting_counts_from_machine_connection(service: House) -> None:
    service.wish("builder")
    service.wish("reviewer")
    service.pass_time(100)
    assert builder_status(service)[0] == "offline"
    service.beat_machine()
    until = instant_in(service, service.limits.start_timeout_s)
    assert builder_status(service)[::2] == ("starting", until)
    service.join("reviewer", "a")
    pass_time_with_beats(
        service, 50, ("reviewer", "a")
    )  # The first beat goes through the store; it is no reconnection.
    assert builder_status(service)[::2] == ("starting", until)


def test_starting_counts_from_leave(service: House) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.leave("builder", "a")
    assert builder_status(service)[::2] == ("starting", instant_in(service, service.limits.start_timeout_s))


def test_starting_restarts_after_server_downtime(service: House) -> None:
    service.beat_machine()
    service.wish("builder")
    service.clock.move(1000)
    service.open()
    assert builder_status(service)[::2] == ("starting", instant_in(service, service.limits.start_timeout_s))


def test_overdue_start_is_reported(service: House) -> None:
    service.beat_machine()
    service.wish("builder")
    until = instant_in(service, service.limits.start_timeout_s)
    pass_time_with_beats(service, service.limits.start_timeout_s + 2)
    assert builder_status(service) == (
        "starting",
        "machine m1 is about to start the agent; it should have started by now: see `greenroom why r/builder`",
        until,
    )


def test_missed_beat_shows_unknown(service: House) -> None:
    service.beat_machine()
    service.wish("builder")
    service.pass_time(31)
    assert builder_status(service)[0] == "unknown"
    service.beat_machine()
    assert builder_status(service)[0] == "starting"


def test_overdue_stop_is_reported(service: House) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.wish("builder", desired="stopped")
    until = instant_in(service, service.limits.daemon_heartbeat_interval_s + service.limits.stop_grace_s)
    assert builder_status(service) == ("stopping", "stopped by operator", until)
    pass_time_with_beats(service, 50, ("builder", "a"))
    assert builder_status(service) == (
        "stopping",
        "stopped by operator; the agent should have stopped by now: see `greenroom why r/builder`",
        until,
    )


def test_stopping_counts_from_room_close(service: House) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.close_room()
    until = instant_in(service, service.limits.daemon_heartbeat_interval_s + service.limits.stop_grace_s)
    assert builder_status(service) == ("stopping", "the room is closed", until)


def test_user_agent_has_no_stop_deadline(service: House) -> None:
    service.join("builder", "user_agent")
    service.wish("builder", machine=None, desired="stopped")
    assert builder_status(service) == ("stopping", "stopped by operator", None)
