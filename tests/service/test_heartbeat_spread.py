"""Many clients are told to spread their retries, and an agent that its daemon no longer names expires alone."""

from collections.abc import Callable

from greenroom.domain.heartbeat_policy import agent_heartbeat_policy
from greenroom.domain.limits import DEFAULT_LIMITS, SPREAD_RETRIES_CLIENTS, SPREAD_RETRIES_ROLES
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import role_statuses
from tests.service.test_machines import make_service_with_daemon_agents


def make_service_with_agents(count: int) -> InProcessService:
    service = InProcessService()
    for room in range(-(-count // 50)):
        roles = tuple(f"role{number}" for number in range(min(50, count - room * 50)))
        service.create_room(f"room{room}", roles)
        for role in roles:
            service.join(role, f"c-{room}-{role}", room=f"room{room}")
    return service


def test_spread_retries_with_many_agents() -> None:
    service = make_service_with_agents(SPREAD_RETRIES_CLIENTS)
    assert not service.beat("role0", "c-0-role0", room="room0").spread_retries
    service.create_room("more", ("late",))
    service.join("late", "c-late", room="more")
    assert service.beat("role0", "c-0-role0", room="room0").spread_retries


def test_spread_retries_counts_agents_of_machines() -> None:
    service = make_service_with_daemon_agents()
    for number in range(SPREAD_RETRIES_ROLES - 2):
        service.context.leases.grant(
            f"r/{number}", "c", 120.0, service.show_machine().id, service.context.clock.monotonic()
        )
    assert not service.beat_machine(("builder", "a"), ("reviewer", "b")).spread_retries
    service.context.leases.grant("r/one-more", "c", 120.0, service.show_machine().id, service.context.clock.monotonic())
    assert service.beat_machine(("builder", "a"), ("reviewer", "b")).spread_retries


def test_spread_retry_delays() -> None:
    presence = agent_heartbeat_policy(DEFAULT_LIMITS)
    presence.record_failure(0.0, 0.5)
    assert DEFAULT_LIMITS.retry_pause_s / 2 == presence.next_call_at
    presence = agent_heartbeat_policy(DEFAULT_LIMITS)
    presence.spread_retries = True
    presence.record_failure(0.0, 0.5)
    assert DEFAULT_LIMITS.heartbeat_interval_s / 4 == presence.next_call_at
    presence.record_failure(10.0, 0.5)
    assert 10.0 + DEFAULT_LIMITS.heartbeat_interval_s / 2 == presence.next_call_at
    assert 2 * presence.timeout_s + DEFAULT_LIMITS.heartbeat_interval_s / 2 <= DEFAULT_LIMITS.heartbeat_interval_s


def test_unnamed_agent_expires_alone() -> None:
    service = make_service_with_daemon_agents()
    for _ in range(5):
        service.pass_time(30)
        service.beat_machine(("reviewer", "b"))
    assert service.show_machine().daemon_connected
    assert ["b"] == [each.connection_id for each in service.show_room().participants]
    assert {"builder": "starting", "reviewer": "waiting"} == role_statuses(service)


def test_expired_agent_rejoins_when_named_again() -> None:
    service = make_service_with_daemon_agents()
    for _ in range(5):
        service.pass_time(30)
        service.beat_machine(("reviewer", "b"))
    verdicts = {agent.role: agent.status for agent in service.beat_machine(("builder", "a"), ("reviewer", "b")).agents}
    assert {"builder": "rejoin_required", "reviewer": "ok"} == verdicts
    assert "ok" == service.join("builder", "a").status
    assert ["ok", "ok"] == [agent.status for agent in service.beat_machine(("builder", "a"), ("reviewer", "b")).agents]


def test_next_beat_time_is_random() -> None:
    """Otherwise clients that beat together once would do so for ever. An agent's join and beat, a daemon's beat."""
    service = make_service_with_daemon_agents()
    service.create_room("plain", ("tester",))
    calls: tuple[tuple[float, Callable[[], float]], ...] = (
        (DEFAULT_LIMITS.heartbeat_interval_s, lambda: service.join("tester", "t", room="plain").next_in_s),
        (DEFAULT_LIMITS.heartbeat_interval_s, lambda: service.beat("tester", "t", room="plain").next_in_s),
        (DEFAULT_LIMITS.daemon_heartbeat_interval_s, lambda: service.beat_machine().next_in_s),
    )
    for interval_s, call in calls:
        shares = [call() / interval_s for _ in range(200)]
        assert 0.80 <= min(shares) < 0.82, "no beat is early"
        assert 0.93 < max(shares) < 0.95, "no beat is late"
        assert len(set(shares)) > 150, "too many beats at the same time"
