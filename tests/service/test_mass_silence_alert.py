"""Many agents lost at the same time raise one alert, which their return resolves."""

from concurrent.futures import Future
from contextlib import nullcontext

import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.service import alerts
from greenroom.store.group_commit import Mutation
from tests.service.in_process_service import InProcessService


def join_roles(count: int) -> InProcessService:
    service = InProcessService()
    service.create_room(roles=tuple(f"role{number}" for number in range(count)))
    for number in range(count):
        service.join(f"role{number}", f"c{number}")
    return service


def list_alert_events(service: InProcessService) -> list[str]:
    return [event.type for event in service.events() if event.type.startswith("alert.")]


def beat_some(service: InProcessService, count: int, rounds: int) -> None:
    for _ in range(rounds):
        service.pass_time(30)
        for number in range(count):
            service.beat(f"role{number}", f"c{number}")


def test_mass_silence_raises_one_alert() -> None:
    service = join_roles(6)
    beat_some(service, 3, rounds=6)
    assert ["alert.raised"] == list_alert_events(service)


def test_alert_ends_when_others_are_heard() -> None:
    """Those that are missing never come back: they have ended, and the server can be reached."""
    service = join_roles(6)
    beat_some(service, 3, rounds=9)
    assert ["alert.raised", "alert.resolved"] == list_alert_events(service)
    assert "others are heard" in next(event for event in service.events() if event.type == "alert.resolved").cause
    beat_some(service, 3, rounds=20)
    assert ["alert.raised", "alert.resolved"] == list_alert_events(service), "the same silence raises no other alert"


def test_alert_stays_while_no_client_is_heard() -> None:
    service = join_roles(6)
    service.pass_time(3600)
    assert ["alert.raised"] == list_alert_events(service)
    service.restart_server()
    service.pass_time(3600)
    assert ["alert.raised"] == list_alert_events(service)


def test_sessions_that_paused_are_not_silent() -> None:
    service = join_roles(6)
    for number in range(6):
        service.beat(f"role{number}", f"c{number}", pausing=number < 4)
    service.pass_time(100)
    assert 6 == service.event_types().count("participant.expired")
    assert [] == list_alert_events(service)


def test_session_that_goes_on_after_a_pause_counts_again() -> None:
    service = join_roles(4)
    for call in (service.beat, service.join, service.claim):
        for number in range(4):
            service.beat(f"role{number}", f"c{number}", pausing=True)
            call(f"role{number}", f"c{number}")
        service.pass_time(100)
        assert "alert.raised" == list_alert_events(service)[-1]
        for number in range(4):
            service.join(f"role{number}", f"c{number}")
        service.pass_time(1)


def test_sessions_whose_task_is_over_are_not_silent() -> None:
    """No process beats for them: the one that got the task has exited."""
    service = join_roles(4)
    service.change_room(max_requests=4)
    tasks = [service.send_message(to=f"role{number}").task for number in range(4)]
    for number, task in enumerate(tasks):
        service.claim(f"role{number}", f"c{number}", detached=True)
        assert task is not None
        service.complete(task.id, f"c{number}", 1)
    service.pass_time(200)
    assert 4 == service.event_types().count("participant.expired")
    assert [] == list_alert_events(service)


def test_alert_resolved_on_return_after_server_restart() -> None:
    service = join_roles(4)
    service.pass_time(200)
    assert ["alert.raised"] == list_alert_events(service)
    service.restart_server()
    for number in range(3):
        service.join(f"role{number}", f"c{number}")
    service.pass_time(2)
    assert ["alert.raised", "alert.resolved"] == list_alert_events(service)


def test_no_alert_below_half_or_below_three() -> None:
    service = join_roles(7)
    for _ in range(5):
        service.pass_time(30)
        for number in range(4):
            service.beat(f"role{number}", f"c{number}")
    assert [] == list_alert_events(service)
    pair = join_roles(2)
    pair.pass_time(200)
    assert [] == list_alert_events(pair)


def test_no_alert_for_scattered_silences() -> None:
    service = join_roles(4)
    for silent in range(4):
        for _ in range(10):
            service.pass_time(30)
            for number in range(silent + 1, 4):
                service.beat(f"role{number}", f"c{number}")
    assert [] == list_alert_events(service)


@pytest.mark.parametrize("is_queued", [True, False])
def test_alert_is_retried_after_store_outage(is_queued: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised once the store takes it, and likewise resolved."""
    service = join_roles(4)

    def fail_write(mutation: Mutation[None]) -> Future[None]:
        error = StoreUnavailable("The store could not commit.", "Send it again.")
        if not is_queued:
            raise error
        refused: Future[None] = Future()
        refused.set_exception(error)
        return refused

    def watch_during_outage() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(service.store, "write", fail_write)
            with nullcontext() if is_queued else pytest.raises(StoreUnavailable):
                alerts.watch_mass_silence(service.context)

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "watch_mass_silence", lambda context: None)
        service.pass_time(100)
    watch_during_outage()
    assert [] == list_alert_events(service)
    service.pass_time(1)
    assert ["alert.raised"] == list_alert_events(service)
    for number in range(3):
        service.join(f"role{number}", f"c{number}")
    watch_during_outage()
    assert ["alert.raised"] == list_alert_events(service)
    service.pass_time(1)
    assert ["alert.raised", "alert.resolved"] == list_alert_events(service)
