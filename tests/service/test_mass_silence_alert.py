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


def test_mass_silence_raises_one_alert() -> None:
    service = join_roles(6)
    for _ in range(10):
        service.pass_time(30)
        for number in range(3):
            service.beat(f"role{number}", f"c{number}")
    assert ["alert.raised"] == list_alert_events(service)


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
