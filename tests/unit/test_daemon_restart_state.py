import logging
from pathlib import Path

import pytest

from greenroom.daemon import restart_state as module
from greenroom.daemon.restart_state import RestartStates
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.restart_policy import (
    BACKING_OFF,
    CRASH_LOOPING,
    PAUSED,
    YIELDED,
    RestartHistory,
    decide_step,
    record_failure,
    record_pause,
)
from greenroom.testing import MovedClock

WALL = 1_760_000_000.0


def make_clock(boottime: float, wall: float = WALL) -> MovedClock:
    return MovedClock(wall=wall, monotonic=boottime)


def open_histories(folder: Path, clock: MovedClock, boot: str = "boot 1") -> RestartStates:
    return RestartStates(folder / "restart_state.json", boot, clock, DEFAULT_LIMITS)


def make_history(hold: str, until: float | None) -> RestartHistory:
    return RestartHistory(
        generation=4,
        failures=(990.0, 1000.0),
        consecutive=2,
        last_failure_at=1000.0,
        hold=hold,
        hold_until=until,
        reason="it broke",
        owes_probe_run=True,
    )


def test_unknown_role_has_empty_history(tmp_path: Path) -> None:
    assert open_histories(tmp_path, make_clock(1000.0)).get("room_1", "builder") == RestartHistory()
    assert list(tmp_path.iterdir()) == []


def test_history_survives_restart(tmp_path: Path) -> None:
    """Without the file, each restart of a killed daemon would restart a crash-looping agent at once."""
    history = make_history(CRASH_LOOPING, 1300.0)
    open_histories(tmp_path, make_clock(1000.0)).record("room_1", "builder", history)
    after = open_histories(tmp_path, make_clock(1100.0, WALL + 100)).get("room_1", "builder")
    assert after == history
    assert decide_step(True, 4, None, after, 1100.0).until == 1300.0


@pytest.mark.parametrize("leap_s", [-86_400.0, -1.0, 3600.0, 86_400.0 * 365])
def test_wall_clock_change_keeps_holds(tmp_path: Path, leap_s: float) -> None:
    """By the wall clock, an hour forward would end each hold that lasts less than an hour."""
    for hold, until in (
        (BACKING_OFF, 1005.0),
        (CRASH_LOOPING, 1300.0),
        (CRASH_LOOPING, None),
        (PAUSED, 9999.0),
        (YIELDED, 1030.0),
    ):
        history = make_history(hold, until)
        open_histories(tmp_path, make_clock(1000.0)).record("room_1", hold, history)
        assert open_histories(tmp_path, make_clock(1001.0, WALL + 1 + leap_s)).get("room_1", hold) == history


def test_hold_continues_after_reboot(tmp_path: Path) -> None:
    open_histories(tmp_path, make_clock(1000.0)).record("room_1", "builder", make_history(CRASH_LOOPING, 1300.0))
    after = open_histories(tmp_path, make_clock(20.0, WALL + 100), "boot 2").get("room_1", "builder")
    assert after.failures == (-90.0, -80.0)
    assert after.last_failure_at == -80.0
    assert after.hold_until == 220.0
    assert after.generation == 4


def test_wall_clock_change_before_reboot(tmp_path: Path) -> None:
    clock = make_clock(1000.0)
    histories = open_histories(tmp_path, clock)
    histories.record("room_1", "builder", make_history(CRASH_LOOPING, 1300.0))
    clock.step_wall(86_400.0)
    histories.write_if_stale()
    after = open_histories(tmp_path, make_clock(20.0, WALL + 86_400 + 100), "boot 2").get("room_1", "builder")
    assert after.hold_until == 220.0


def test_file_of_earlier_boot_is_rewritten(tmp_path: Path) -> None:
    """If it stayed as it was until the next change, it would be read with a clock that was set in between."""
    open_histories(tmp_path, make_clock(1000.0)).record("room_1", "builder", make_history(CRASH_LOOPING, 1300.0))
    open_histories(tmp_path, make_clock(20.0, WALL + 100), "boot 2").write_if_stale()
    after = open_histories(tmp_path, make_clock(30.0, WALL + 86_400), "boot 2").get("room_1", "builder")
    assert after.hold_until == 220.0


def test_clock_set_back_over_reboot_extends_no_hold(tmp_path: Path) -> None:
    """Without a bound, a hold of five minutes would last for the day that the clock was set back by."""
    holds = {BACKING_OFF: 1250.0, CRASH_LOOPING: 1300.0, YIELDED: 1030.0, PAUSED: 4600.0}
    for hold, until in holds.items():
        open_histories(tmp_path, make_clock(1000.0)).record("room_1", hold, make_history(hold, until))
    later = open_histories(tmp_path, make_clock(20.0, WALL - 86_400), "boot 2")
    for hold, until in holds.items():
        after = later.get("room_1", hold)
        assert after.hold_until == 20.0 + until - 1000.0, hold
        assert after.failures == (20.0, 20.0), "a failure in the future would never leave the window"
        assert after.last_failure_at == 20.0


def test_stored_hold_is_limited(tmp_path: Path) -> None:
    for hold, longest in ((BACKING_OFF, 300.0), (CRASH_LOOPING, 300.0), (YIELDED, 30.0), (PAUSED, 90_000.0)):
        open_histories(tmp_path, make_clock(1000.0)).record("room_1", hold, make_history(hold, 1000.0 + 1e6))
        assert open_histories(tmp_path, make_clock(1000.0)).get("room_1", hold).hold_until == 1000.0 + longest


def test_hold_for_user_survives_reboot(tmp_path: Path) -> None:
    open_histories(tmp_path, make_clock(1000.0)).record(
        "room_1", "builder", record_pause(RestartHistory(), 4, 1000.0, None, "the login is missing")
    )
    after = open_histories(tmp_path, make_clock(5.0, WALL + 1e7), "boot 2").get("room_1", "builder")
    assert after.needs_user
    assert after.reason == "the login is missing"


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\x00", b"[]", b'{"boot": 1}', b'{"agents": []}'])
def test_unreadable_file_is_set_aside(tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "restart_state.json").write_bytes(garbage)
    histories = open_histories(tmp_path, make_clock(1000.0))
    assert histories.get("room_1", "builder") == RestartHistory()
    assert "set aside" in caplog.text
    assert (tmp_path / "restart_state.unreadable").read_bytes() == garbage
    histories.record("room_1", "builder", make_history(CRASH_LOOPING, None))
    assert open_histories(tmp_path, make_clock(1001.0)).get("room_1", "builder").is_probe_run


def test_full_disk_keeps_history_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    histories = open_histories(tmp_path, make_clock(1000.0))
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_record", refuse)
        for count in range(3):
            histories.record(
                "room_1",
                "builder",
                record_failure(RestartHistory(), 4, 1000.0 + count, 0.5, DEFAULT_LIMITS, "it broke"),
            )
        histories.write_if_stale()
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "logged once, not each time"
    kept = histories.get("room_1", "builder")
    assert kept.failures == (1002.0,)
    assert not (tmp_path / "restart_state.json").exists()
    histories.write_if_stale()
    assert open_histories(tmp_path, make_clock(1003.0)).get("room_1", "builder") == kept


def test_unassigned_roles_are_removed(tmp_path: Path) -> None:
    histories = open_histories(tmp_path, make_clock(1000.0))
    for role in ("builder", "reviewer"):
        histories.record("room_1", role, make_history(CRASH_LOOPING, None))
    histories.retain({("room_1", "reviewer")})
    for states in (histories, open_histories(tmp_path, make_clock(1001.0))):
        assert states.get("room_1", "builder") == RestartHistory()
        assert states.get("room_1", "reviewer").is_probe_run


def test_unchanged_history_is_not_written(tmp_path: Path) -> None:
    histories = open_histories(tmp_path, make_clock(1000.0))
    histories.record("room_1", "builder", RestartHistory(generation=4))
    (tmp_path / "restart_state.json").unlink()
    histories.record("room_1", "builder", RestartHistory(generation=4))
    histories.retain({("room_1", "builder")})
    histories.write_if_stale()
    assert list(tmp_path.iterdir()) == []
