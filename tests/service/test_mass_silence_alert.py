"""Many agents lost at the same time raise one alert, which their return resolves."""

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
