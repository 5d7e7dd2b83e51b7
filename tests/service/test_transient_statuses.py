"""A passing status says when it should be over; after that it says that it is overdue and where to look."""

import pytest

from greenroom.clock import format_instant
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from tests.service.in_process_service import InProcessService

DAEMON = Principal(scope=MACHINE, machine="m1")


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room()
    new_service.register_machine()
    return new_service


def join_daemon_agent(service: InProcessService) -> InProcessService:
    """Let the builder's daemon join."""
    service.beat_machine()
    service.set_agent_spec("builder")
    service.principal = DAEMON
    service.join("builder", "a")
    service.principal = OPERATOR_PRINCIPAL
    service.beat_machine(("builder", "a"))
    return service


def builder_status(service: InProcessService) -> tuple[str, str | None, str | None]:
    view = service.show_room().roles[0]
    return view.status, view.status_reason, view.status_until


def instant_in(service: InProcessService, seconds: float) -> str:
    return format_instant(service.clock.wall() + seconds)


def pass_time_with_beats(service: InProcessService, seconds: float, *agents: tuple[str, str]) -> None:
    """Let time pass while the machine beats."""
    while seconds > 0:
        service.pass_time(min(seconds, 25))
        seconds -= 25
        service.beat_machine(*agents)


def test_starting_counts_from_agent_spec(service: InProcessService) -> None:
    service.beat_machine()
    pass_time_with_beats(service, 100)
    service.set_agent_spec("builder")
    assert builder_status(service) == (
        "starting",
        "machine m1 is about to start the agent",
        instant_in(service, service.limits.start_timeout_s),
    )


def test_starting_counts_from_machine_connection(service: InProcessService) -> None:
    service.set_agent_spec("builder")
    service.set_agent_spec("reviewer")
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


def test_starting_counts_from_leave(service: InProcessService) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.leave("builder", "a")
    assert builder_status(service)[::2] == ("starting", instant_in(service, service.limits.start_timeout_s))


def test_starting_restarts_after_server_downtime(service: InProcessService) -> None:
    service.beat_machine()
    service.set_agent_spec("builder")
    service.clock.advance(1000)
    service.restart_server()
    assert builder_status(service)[::2] == ("starting", instant_in(service, service.limits.start_timeout_s))


def test_overdue_start_is_reported(service: InProcessService) -> None:
    service.beat_machine()
    service.set_agent_spec("builder")
    until = instant_in(service, service.limits.start_timeout_s)
    pass_time_with_beats(service, service.limits.start_timeout_s + 2)
    assert builder_status(service) == (
        "starting",
        "machine m1 is about to start the agent; it should have started by now: see `greenroom why r/builder`",
        until,
    )


def test_missed_beat_shows_unknown(service: InProcessService) -> None:
    service.beat_machine()
    service.set_agent_spec("builder")
    service.pass_time(31)
    assert builder_status(service)[0] == "unknown"
    service.beat_machine()
    assert builder_status(service)[0] == "starting"


def test_overdue_stop_is_reported(service: InProcessService) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.set_agent_spec("builder", desired="stopped")
    until = instant_in(service, service.limits.daemon_heartbeat_interval_s + service.limits.stop_grace_s)
    assert builder_status(service) == ("stopping", "stopped by operator", until)
    pass_time_with_beats(service, 50, ("builder", "a"))
    assert builder_status(service) == (
        "stopping",
        "stopped by operator; the agent should have stopped by now: see `greenroom why r/builder`",
        until,
    )


def test_stopping_counts_from_room_close(service: InProcessService) -> None:
    join_daemon_agent(service)
    pass_time_with_beats(service, 100, ("builder", "a"))
    service.close_room()
    until = instant_in(service, service.limits.daemon_heartbeat_interval_s + service.limits.stop_grace_s)
    assert builder_status(service) == ("stopping", "the room is closed", until)


def test_user_agent_has_no_stop_deadline(service: InProcessService) -> None:
    service.join("builder", "user_agent")
    service.set_agent_spec("builder", machine=None, desired="stopped")
    assert builder_status(service) == ("stopping", "stopped by operator", None)
