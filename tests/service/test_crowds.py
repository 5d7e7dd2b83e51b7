"""Many clients are told to spread their retries, and an agent that its daemon no longer names expires alone."""

from collections.abc import Callable

from greenroom.domain.presence import presence_of_agent
from greenroom.domain.reliability import CROWD, DEFAULTS, SEATS_CROWD
from tests.service.house import House
from tests.service.team import statuses
from tests.service.test_machines import team


def crowd(count: int) -> House:
    house = House()
    for room in range(-(-count // 50)):
        roles = tuple(f"role{number}" for number in range(min(50, count - room * 50)))
        house.room(f"room{room}", roles)
        for role in roles:
            house.join(role, f"c-{room}-{role}", room=f"room{room}")
    return house


def test_a_crowd_is_told_that_it_is_one() -> None:
    house = crowd(CROWD)
    assert not house.beat("role0", "c-0-role0", room="room0").crowded
    house.room("more", ("late",))
    house.join("late", "c-late", room="more")
    assert house.beat("role0", "c-0-role0", room="room0").crowded


def test_many_agents_of_few_machines_are_a_crowd_too_for_each_has_a_claim_standing() -> None:
    house = team()
    for number in range(SEATS_CROWD - 2):
        house.world.leases.grant(f"r/{number}", "c", 120.0, house.machine().id, house.world.clock.monotonic())
    assert not house.beat_machine(("builder", "a"), ("reviewer", "b")).crowded
    house.world.leases.grant("r/one-more", "c", 120.0, house.machine().id, house.world.clock.monotonic())
    assert house.beat_machine(("builder", "a"), ("reviewer", "b")).crowded


def test_who_is_told_so_spreads_its_retries_over_half_an_interval() -> None:
    presence = presence_of_agent(DEFAULTS)
    presence.failed(0.0, 0.5)
    assert DEFAULTS.retry_pause_s / 2 == presence.call_at
    presence = presence_of_agent(DEFAULTS)
    presence.is_crowded = True
    presence.failed(0.0, 0.5)
    assert DEFAULTS.heartbeat_interval_s / 4 == presence.call_at
    presence.failed(10.0, 0.5)
    assert 10.0 + DEFAULTS.heartbeat_interval_s / 2 == presence.call_at
    assert 2 * presence.timeout_s + DEFAULTS.heartbeat_interval_s / 2 <= DEFAULTS.heartbeat_interval_s


def test_an_agent_that_its_daemon_no_longer_names_lapses_alone() -> None:
    house = team()
    for _ in range(5):
        house.pass_time(30)
        house.beat_machine(("reviewer", "b"))
    assert house.machine().daemon_connected
    assert ["b"] == [each.connection_id for each in house.look().participants]
    assert {"builder": "starting", "reviewer": "waiting"} == statuses(house)


def test_the_next_beat_that_names_it_seats_it_again_after_a_join() -> None:
    house = team()
    for _ in range(5):
        house.pass_time(30)
        house.beat_machine(("reviewer", "b"))
    verdicts = {agent.role: agent.status for agent in house.beat_machine(("builder", "a"), ("reviewer", "b")).agents}
    assert {"builder": "rejoin_required", "reviewer": "ok"} == verdicts
    assert "ok" == house.join("builder", "a").status
    assert ["ok", "ok"] == [agent.status for agent in house.beat_machine(("builder", "a"), ("reviewer", "b")).agents]


def test_every_answer_tells_another_time_to_the_next_beat() -> None:
    """Otherwise clients that beat together once would do so for ever. An agent's join and beat, a daemon's beat."""
    house = team()
    house.room("plain", ("tester",))
    ways: tuple[tuple[float, Callable[[], float]], ...] = (
        (DEFAULTS.heartbeat_interval_s, lambda: house.join("tester", "t", room="plain").next_in_s),
        (DEFAULTS.heartbeat_interval_s, lambda: house.beat("tester", "t", room="plain").next_in_s),
        (DEFAULTS.daemon_heartbeat_interval_s, lambda: house.beat_machine().next_in_s),
    )
    for interval_s, ask in ways:
        shares = [ask() / interval_s for _ in range(200)]
        assert 0.80 <= min(shares) < 0.82, "no beat is early"
        assert 0.93 < max(shares) < 0.95, "no beat is late"
        assert len(set(shares)) > 150, "too many beats at the same time"
