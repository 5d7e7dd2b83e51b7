import logging
from pathlib import Path

import pytest

from greenroom.clock import MovedClock
from greenroom.daemon import histories as module
from greenroom.daemon.histories import Histories
from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.supervision import BACKING_OFF, PARKED, PAUSED, YIELDED, History, decide, ended, paused

WALL = 1_760_000_000.0


def at(boottime: float, wall: float = WALL) -> MovedClock:
    return MovedClock(wall=wall, monotonic=boottime)


def opened(folder: Path, clock: MovedClock, boot: str = "boot 1") -> Histories:
    return Histories(folder / "histories.json", boot, clock, DEFAULTS)


def resting(rest: str, until: float | None) -> History:
    return History(
        generation=4,
        ends=(990.0, 1000.0),
        in_a_row=2,
        last_end_at=1000.0,
        rest=rest,
        rests_until=until,
        reason="it broke",
        owes_trial=True,
    )


def test_nothing_is_known_of_an_agent_at_first(tmp_path: Path) -> None:
    assert opened(tmp_path, at(1000.0)).of("room_1", "builder") == History()
    assert list(tmp_path.iterdir()) == []


def test_a_history_outlives_the_daemon(tmp_path: Path) -> None:
    """Without the file, each restart of a killed daemon would restart a crash-looping agent at once."""
    parked = resting(PARKED, 1300.0)
    opened(tmp_path, at(1000.0)).note("room_1", "builder", parked)
    after = opened(tmp_path, at(1100.0, WALL + 100)).of("room_1", "builder")
    assert after == parked
    assert decide(True, 4, None, after, 1100.0).until == 1300.0


@pytest.mark.parametrize("leap_s", [-86_400.0, -1.0, 3600.0, 86_400.0 * 365])
def test_a_wall_clock_that_is_set_changes_nothing_within_one_boot(tmp_path: Path, leap_s: float) -> None:
    """By the wall clock, an hour forward would end each hold that lasts less than an hour."""
    for rest, until in ((BACKING_OFF, 1005.0), (PARKED, 1300.0), (PARKED, None), (PAUSED, 9999.0), (YIELDED, 1030.0)):
        history = resting(rest, until)
        opened(tmp_path, at(1000.0)).note("room_1", rest, history)
        assert opened(tmp_path, at(1001.0, WALL + 1 + leap_s)).of("room_1", rest) == history


def test_after_a_boot_the_wall_clock_says_how_much_of_a_rest_is_left(tmp_path: Path) -> None:
    opened(tmp_path, at(1000.0)).note("room_1", "builder", resting(PARKED, 1300.0))
    after = opened(tmp_path, at(20.0, WALL + 100), "boot 2").of("room_1", "builder")
    assert after.ends == (-90.0, -80.0)
    assert after.last_end_at == -80.0
    assert after.rests_until == 220.0
    assert after.generation == 4


def test_a_wall_clock_that_was_set_before_the_boot_has_moved_the_file_too(tmp_path: Path) -> None:
    clock = at(1000.0)
    histories = opened(tmp_path, clock)
    histories.note("room_1", "builder", resting(PARKED, 1300.0))
    clock.leap(86_400.0)
    histories.keep_current()
    after = opened(tmp_path, at(20.0, WALL + 86_400 + 100), "boot 2").of("room_1", "builder")
    assert after.rests_until == 220.0


def test_a_file_of_another_boot_is_written_anew_before_its_clock_is_set_as_well(tmp_path: Path) -> None:
    """If it stayed as it was until the next change, it would be read with a clock that was set in between."""
    opened(tmp_path, at(1000.0)).note("room_1", "builder", resting(PARKED, 1300.0))
    opened(tmp_path, at(20.0, WALL + 100), "boot 2").keep_current()
    after = opened(tmp_path, at(30.0, WALL + 86_400), "boot 2").of("room_1", "builder")
    assert after.rests_until == 220.0


def test_after_a_boot_with_a_clock_set_back_no_rest_is_longer_than_it_was(tmp_path: Path) -> None:
    """Without a bound, a hold of five minutes would last for the day that the clock was set back by."""
    rests = {BACKING_OFF: 1250.0, PARKED: 1300.0, YIELDED: 1030.0, PAUSED: 4600.0}
    for rest, until in rests.items():
        opened(tmp_path, at(1000.0)).note("room_1", rest, resting(rest, until))
    later = opened(tmp_path, at(20.0, WALL - 86_400), "boot 2")
    for rest, until in rests.items():
        after = later.of("room_1", rest)
        assert after.rests_until == 20.0 + until - 1000.0, rest
        assert after.ends == (20.0, 20.0), "a failure in the future would never leave the window"
        assert after.last_end_at == 20.0


def test_no_rest_is_longer_than_its_rule_whatever_the_file_says(tmp_path: Path) -> None:
    for rest, longest in ((BACKING_OFF, 300.0), (PARKED, 300.0), (YIELDED, 30.0), (PAUSED, 1e6)):
        opened(tmp_path, at(1000.0)).note("room_1", rest, resting(rest, 1000.0 + 1e6))
        assert opened(tmp_path, at(1000.0)).of("room_1", rest).rests_until == 1000.0 + longest


def test_who_waits_for_a_person_still_does_after_any_start(tmp_path: Path) -> None:
    opened(tmp_path, at(1000.0)).note("room_1", "builder", paused(History(), 4, 1000.0, None, "the login is missing"))
    after = opened(tmp_path, at(5.0, WALL + 1e7), "boot 2").of("room_1", "builder")
    assert after.needs_person
    assert after.reason == "the login is missing"


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\x00", b"[]", b'{"boot": 1}', b'{"agents": []}'])
def test_what_cannot_be_read_is_put_aside_and_said(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "histories.json").write_bytes(garbage)
    histories = opened(tmp_path, at(1000.0))
    assert histories.of("room_1", "builder") == History()
    assert "set aside" in caplog.text
    assert (tmp_path / "histories.unreadable").read_bytes() == garbage
    histories.note("room_1", "builder", resting(PARKED, None))
    assert opened(tmp_path, at(1001.0)).of("room_1", "builder").is_parked


def test_a_full_disk_loses_nothing_in_memory_and_is_made_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*rest: object) -> None:
        raise OSError(28, "No space left on device")

    histories = opened(tmp_path, at(1000.0))
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_record", refuse)
        for count in range(3):
            histories.note("room_1", "builder", ended(History(), 4, 1000.0 + count, 0.5, DEFAULTS, "it broke"))
        histories.keep_current()
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "logged once, not each time"
    kept = histories.of("room_1", "builder")
    assert kept.ends == (1002.0,)
    assert not (tmp_path / "histories.json").exists()
    histories.keep_current()
    assert opened(tmp_path, at(1003.0)).of("room_1", "builder") == kept


def test_what_nobody_wishes_any_more_is_forgotten(tmp_path: Path) -> None:
    histories = opened(tmp_path, at(1000.0))
    for role in ("builder", "reviewer"):
        histories.note("room_1", role, resting(PARKED, None))
    histories.keep_only({("room_1", "reviewer")})
    for known in (histories, opened(tmp_path, at(1001.0))):
        assert known.of("room_1", "builder") == History()
        assert known.of("room_1", "reviewer").is_parked


def test_what_does_not_change_is_not_written(tmp_path: Path) -> None:
    histories = opened(tmp_path, at(1000.0))
    histories.note("room_1", "builder", History(generation=4))
    (tmp_path / "histories.json").unlink()
    histories.note("room_1", "builder", History(generation=4))
    histories.keep_only({("room_1", "builder")})
    histories.keep_current()
    assert list(tmp_path.iterdir()) == []
