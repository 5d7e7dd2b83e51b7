"""The timing wheel returns each lease once for each time it was filed, never early, in parts; and the lease table."""

import threading
from typing import Any

from greenroom.domain.lease import ENDLESS
from greenroom.service.state.lease_table import LeaseTable
from greenroom.service.state.timing_wheel import CHAIN_LENGTH_MAX, TimingWheel, WheelEntry
from tests.waiting import wait_until

NOW = 1_000.0
TTL_S = 90.0
NEGATIVE_WAIT_S = 0.3


def make_wheel(*deadlines: float) -> TimingWheel[WheelEntry]:
    wheel: TimingWheel[WheelEntry] = TimingWheel(1.0)
    for number, deadline in enumerate(deadlines):
        wheel.add(WheelEntry(f"c{number}", TTL_S, deadline))
    return wheel


def draw_all(wheel: TimingWheel[WheelEntry]) -> list[str]:
    names = []
    while wheel.has_due:
        names += [lease.connection for lease in wheel.take_due()]
    return names


def test_lease_is_drawn_at_its_deadline() -> None:
    wheel = make_wheel(NOW + 5.5, NOW + 9.5)
    wheel.advance(NOW + 4.9)
    assert [] == draw_all(wheel)
    wheel.advance(NOW + 5.6)
    assert ["c0"] == draw_all(wheel)
    wheel.advance(NOW + 60.0)
    assert ["c1"] == draw_all(wheel)


def test_overdue_lease_is_drawn_at_next_turn() -> None:
    wheel = make_wheel(NOW)
    wheel.advance(NOW + 50.0)
    assert ["c0"] == draw_all(wheel)
    wheel.add(WheelEntry("late", TTL_S, NOW - 500.0))
    assert not wheel.has_due
    wheel.advance(NOW + 51.0)
    assert ["late"] == draw_all(wheel)


def test_endless_lease_is_never_drawn() -> None:
    wheel = make_wheel(ENDLESS)
    wheel.advance(NOW * 1e6)
    assert not wheel.has_due


def test_full_bucket_is_drawn_in_parts() -> None:
    count = 3 * CHAIN_LENGTH_MAX + 1
    wheel = make_wheel(*([NOW] * count))
    wheel.advance(NOW)
    parts = []
    while wheel.has_due:
        parts.append(wheel.take_due())
    assert count == len({lease.connection for part in parts for lease in part})
    assert [1, CHAIN_LENGTH_MAX, CHAIN_LENGTH_MAX, CHAIN_LENGTH_MAX] == sorted(len(part) for part in parts)
    assert all(lease.next is None for part in parts for lease in part)


def test_lease_filed_while_drawing_waits_for_next_turn() -> None:
    wheel = make_wheel(NOW)
    wheel.advance(NOW)
    [lease] = wheel.take_due()
    wheel.add(lease)
    assert not wheel.has_due
    wheel.advance(NOW)
    assert ["c0"] == draw_all(wheel)


def make_lease_table(count: int) -> LeaseTable:
    leases = LeaseTable(1.0, closed_max=10)
    for number in range(count):
        leases.grant(f"room/role{number}", f"c{number}", TTL_S, None, NOW)
    return leases


def look_until_done(leases: LeaseTable, now: float, looks_max: int = 10, due_max: int = 10_000) -> int:
    """Look until the round is complete, and return the number of parts it took."""
    parts = 1
    while leases.check_leases(now, looks_max, due_max):
        parts += 1
    return parts


def test_round_in_parts_finds_all_silent_leases() -> None:
    leases = make_lease_table(10 * CHAIN_LENGTH_MAX)
    for number in range(0, 10 * CHAIN_LENGTH_MAX, 2):
        leases.renew(f"room/role{number}", f"c{number}", NOW + 60.0)
    assert look_until_done(leases, NOW + TTL_S) > 5
    silent = {f"room/role{number}" for number in range(1, 10 * CHAIN_LENGTH_MAX, 2)}
    assert silent == set(leases.take_due_participants(NOW + TTL_S))
    look_until_done(leases, NOW + 60.0 + TTL_S - 1.0)
    assert silent == set(leases.take_due_participants(NOW + 60.0 + TTL_S - 1.0))
    look_until_done(leases, NOW + 60.0 + TTL_S)
    assert 10 * CHAIN_LENGTH_MAX == len(leases.take_due_participants(NOW + 60.0 + TTL_S))


def test_beat_after_look_prevents_expiry() -> None:
    leases = make_lease_table(2)
    look_until_done(leases, NOW + TTL_S)
    assert "ok" == leases.renew("room/role0", "c0", NOW + TTL_S)
    assert ["room/role1"] == leases.take_due_participants(NOW + TTL_S)


def test_round_stops_at_limit_and_next_continues() -> None:
    count = 4 * CHAIN_LENGTH_MAX
    leases, due_roles = make_lease_table(count), set()
    for _ in range(5):
        look_until_done(leases, NOW + TTL_S, due_max=CHAIN_LENGTH_MAX)
        due = leases.take_due_participants(NOW + TTL_S)
        assert len(due) <= 2 * CHAIN_LENGTH_MAX
        due_roles.update(due)
    assert count == len(due_roles)


def test_renewed_grant_is_due_once() -> None:
    leases = make_lease_table(1)
    leases.grant("room/role0", "c0", TTL_S, None, NOW + 0.1)
    look_until_done(leases, NOW + TTL_S + 1.0)
    assert ["room/role0"] == leases.take_due_participants(NOW + TTL_S + 1.0)


class WatchedTimers(dict[str, float]):
    """Release timers that, while they are read one after another, let another thread start one more."""

    def __init__(self, leases: LeaseTable) -> None:
        super().__init__(task=NOW)
        self._leases = leases

    def items(self) -> Any:
        for item in super().items():
            yield item
            starting = threading.Thread(target=self._leases.start_timer, args=("other", NOW), daemon=True)
            starting.start()
            starting.join(NEGATIVE_WAIT_S)


def test_timer_started_while_all_are_extended() -> None:
    """The writer starts release timers while the event loop, after an absence, extends them."""
    leases = make_lease_table(1)
    leases.timers = WatchedTimers(leases)
    leases.extend_all(NOW, TTL_S)
    wait_until(lambda: len(leases.timers) == 2, "the timer is started once all others are extended")
    assert NOW + TTL_S == leases.timers["task"]
