"""The timing wheel returns each lease once for each time it was filed, never early, in parts; and the lease table."""

from greenroom.domain.lease import ENDLESS
from greenroom.service.calendar import SHEET_LEASES, Calendar, Filed
from greenroom.service.leases import LeaseTable

NOW = 1_000.0
TTL_S = 90.0


def filed(*deadlines: float) -> Calendar[Filed]:
    calendar: Calendar[Filed] = Calendar(1.0)
    for number, deadline in enumerate(deadlines):
        calendar.file(Filed(f"c{number}", TTL_S, deadline))
    return calendar


def drawn(calendar: Calendar[Filed]) -> list[str]:
    names = []
    while calendar.is_open:
        names += [lease.connection for lease in calendar.draw()]
    return names


def test_a_lease_is_drawn_when_its_moment_has_come_and_not_before() -> None:
    calendar = filed(NOW + 5.5, NOW + 9.5)
    calendar.turn(NOW + 4.9)
    assert [] == drawn(calendar)
    calendar.turn(NOW + 5.6)
    assert ["c0"] == drawn(calendar)
    calendar.turn(NOW + 60.0)
    assert ["c1"] == drawn(calendar)


def test_one_that_ran_out_long_ago_is_drawn_at_the_next_turn() -> None:
    calendar = filed(NOW)
    calendar.turn(NOW + 50.0)
    assert ["c0"] == drawn(calendar)
    calendar.file(Filed("late", TTL_S, NOW - 500.0))
    assert not calendar.is_open
    calendar.turn(NOW + 51.0)
    assert ["late"] == drawn(calendar)


def test_an_endless_lease_is_never_drawn() -> None:
    calendar = filed(ENDLESS)
    calendar.turn(NOW * 1e6)
    assert not calendar.is_open


def test_every_lease_of_a_full_page_is_drawn_once_in_small_sheets() -> None:
    count = 3 * SHEET_LEASES + 1
    calendar = filed(*([NOW] * count))
    calendar.turn(NOW)
    sheets = []
    while calendar.is_open:
        sheets.append(calendar.draw())
    assert count == len({lease.connection for sheet in sheets for lease in sheet})
    assert [1, SHEET_LEASES, SHEET_LEASES, SHEET_LEASES] == sorted(len(sheet) for sheet in sheets)
    assert all(lease.next is None for sheet in sheets for lease in sheet)


def test_what_is_filed_anew_while_pages_are_open_waits_for_the_next_turn() -> None:
    calendar = filed(NOW)
    calendar.turn(NOW)
    [lease] = calendar.draw()
    calendar.file(lease)
    assert not calendar.is_open
    calendar.turn(NOW)
    assert ["c0"] == drawn(calendar)


def table(count: int) -> LeaseTable:
    leases = LeaseTable(1.0, closed_max=10)
    for number in range(count):
        leases.grant(f"room/role{number}", f"c{number}", TTL_S, None, NOW)
    return leases


def looks(leases: LeaseTable, now: float, looks_max: int = 10, due_max: int = 10_000) -> int:
    """Look until the round is complete, and return the number of parts it took."""
    parts = 1
    while leases.look(now, looks_max, due_max):
        parts += 1
    return parts


def test_a_round_in_parts_finds_all_who_are_silent_and_nobody_else() -> None:
    leases = table(10 * SHEET_LEASES)
    for number in range(0, 10 * SHEET_LEASES, 2):
        leases.beat(f"room/role{number}", f"c{number}", NOW + 60.0)
    assert looks(leases, NOW + TTL_S) > 5
    silent = {f"room/role{number}" for number in range(1, 10 * SHEET_LEASES, 2)}
    assert silent == set(leases.due_seats(NOW + TTL_S))
    looks(leases, NOW + 60.0 + TTL_S - 1.0)
    assert silent == set(leases.due_seats(NOW + 60.0 + TTL_S - 1.0))
    looks(leases, NOW + 60.0 + TTL_S)
    assert 10 * SHEET_LEASES == len(leases.due_seats(NOW + 60.0 + TTL_S))


def test_who_beats_between_the_look_and_the_judgement_is_not_judged() -> None:
    leases = table(2)
    looks(leases, NOW + TTL_S)
    assert "ok" == leases.beat("room/role0", "c0", NOW + TTL_S)
    assert ["room/role1"] == leases.due_seats(NOW + TTL_S)


def test_a_round_ends_early_when_it_has_found_enough_and_the_next_one_finds_the_others() -> None:
    count = 4 * SHEET_LEASES
    leases, found = table(count), set()
    for _ in range(5):
        looks(leases, NOW + TTL_S, due_max=SHEET_LEASES)
        due = leases.due_seats(NOW + TTL_S)
        assert len(due) <= 2 * SHEET_LEASES
        found.update(due)
    assert count == len(found)


def test_a_seat_that_was_granted_anew_is_found_once() -> None:
    leases = table(1)
    leases.grant("room/role0", "c0", TTL_S, None, NOW + 0.1)
    looks(leases, NOW + TTL_S + 1.0)
    assert ["room/role0"] == leases.due_seats(NOW + TTL_S + 1.0)
