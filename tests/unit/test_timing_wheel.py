"""The timing wheel returns each lease once for each time it was filed, never early, in parts; and the lease table."""

from greenroom.domain.lease import ENDLESS
from greenroom.service.calendar import SHEET_LEASES, Calendar, Filed
from greenroom.service.leases import LeaseTable

NOW = 1_000.0
TTL_S = 90.0


def make_wheel(*deadlines: float) -> Calendar[Filed]:
    wheel: Calendar[Filed] = Calendar(1.0)
    for number, deadline in enumerate(deadlines):
        wheel.file(Filed(f"c{number}", TTL_S, deadline))
    return wheel


def draw_all(wheel: Calendar[Filed]) -> list[str]:
    names = []
    while wheel.is_open:
        names += [lease.connection for lease in wheel.draw()]
    return names


def test_lease_is_drawn_at_its_deadline() -> None:
    wheel = make_wheel(NOW + 5.5, NOW + 9.5)
    wheel.turn(NOW + 4.9)
    assert [] == draw_all(wheel)
    wheel.turn(NOW + 5.6)
    assert ["c0"] == draw_all(wheel)
    wheel.turn(NOW + 60.0)
    assert ["c1"] == draw_all(wheel)


def test_overdue_lease_is_drawn_at_next_turn() -> None:
    wheel = make_wheel(NOW)
    wheel.turn(NOW + 50.0)
    assert ["c0"] == draw_all(wheel)
    wheel.file(Filed("late", TTL_S, NOW - 500.0))
    assert not wheel.is_open
    wheel.turn(NOW + 51.0)
    assert ["late"] == draw_all(wheel)


def test_endless_lease_is_never_drawn() -> None:
    wheel = make_wheel(ENDLESS)
    wheel.turn(NOW * 1e6)
    assert not wheel.is_open


def test_full_bucket_is_drawn_in_parts() -> None:
    count = 3 * SHEET_LEASES + 1
    wheel = make_wheel(*([NOW] * count))
    wheel.turn(NOW)
    parts = []
    while wheel.is_open:
        parts.append(wheel.draw())
    assert count == len({lease.connection for part in parts for lease in part})
    assert [1, SHEET_LEASES, SHEET_LEASES, SHEET_LEASES] == sorted(len(part) for part in parts)
    assert all(lease.next is None for part in parts for lease in part)


def test_lease_filed_while_drawing_waits_for_next_turn() -> None:
    wheel = make_wheel(NOW)
    wheel.turn(NOW)
    [lease] = wheel.draw()
    wheel.file(lease)
    assert not wheel.is_open
    wheel.turn(NOW)
    assert ["c0"] == draw_all(wheel)


def make_lease_table(count: int) -> LeaseTable:
    leases = LeaseTable(1.0, closed_max=10)
    for number in range(count):
        leases.grant(f"room/role{number}", f"c{number}", TTL_S, None, NOW)
    return leases


def look_until_done(leases: LeaseTable, now: float, looks_max: int = 10, due_max: int = 10_000) -> int:
    """Look until the round is complete, and return the number of parts it took."""
    parts = 1
    while leases.look(now, looks_max, due_max):
        parts += 1
    return parts


def test_round_in_parts_finds_all_silent_leases() -> None:
    leases = make_lease_table(10 * SHEET_LEASES)
    for number in range(0, 10 * SHEET_LEASES, 2):
        leases.beat(f"room/role{number}", f"c{number}", NOW + 60.0)
    assert look_until_done(leases, NOW + TTL_S) > 5
    silent = {f"room/role{number}" for number in range(1, 10 * SHEET_LEASES, 2)}
    assert silent == set(leases.due_seats(NOW + TTL_S))
    look_until_done(leases, NOW + 60.0 + TTL_S - 1.0)
    assert silent == set(leases.due_seats(NOW + 60.0 + TTL_S - 1.0))
    look_until_done(leases, NOW + 60.0 + TTL_S)
    assert 10 * SHEET_LEASES == len(leases.due_seats(NOW + 60.0 + TTL_S))


def test_beat_after_look_prevents_expiry() -> None:
    leases = make_lease_table(2)
    look_until_done(leases, NOW + TTL_S)
    assert "ok" == leases.beat("room/role0", "c0", NOW + TTL_S)
    assert ["room/role1"] == leases.due_seats(NOW + TTL_S)


def test_round_stops_at_limit_and_next_continues() -> None:
    count = 4 * SHEET_LEASES
    leases, due_roles = make_lease_table(count), set()
    for _ in range(5):
        look_until_done(leases, NOW + TTL_S, due_max=SHEET_LEASES)
        due = leases.due_seats(NOW + TTL_S)
        assert len(due) <= 2 * SHEET_LEASES
        due_roles.update(due)
    assert count == len(due_roles)


def test_renewed_grant_is_due_once() -> None:
    leases = make_lease_table(1)
    leases.grant("room/role0", "c0", TTL_S, None, NOW + 0.1)
    look_until_done(leases, NOW + TTL_S + 1.0)
    assert ["room/role0"] == leases.due_seats(NOW + TTL_S + 1.0)
