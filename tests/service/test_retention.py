"""Retention deletes old rows and nothing that is still in use; one test for each limit."""

from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy import func, select

from greenroom.domain.errors import StoreUnavailable, Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.limits import Limits
from greenroom.service import retention
from greenroom.service.state.lease_table import LeaseTable
from greenroom.store import tables
from greenroom.store.compiled_sql import Statement
from greenroom.wire.cursor import StreamCursors
from greenroom.wire.requests import AgentReport
from tests.service.in_process_server import InProcessServer
from tests.service.in_process_service import InProcessService

DAY_S = 86_400.0


def count_rows(service: InProcessService, table: str) -> int:
    statement = Statement(select(func.count()).select_from(tables.metadata.tables[table]))
    row = service.store.read(lambda reader: reader.row(statement))
    assert row is not None
    return int(row[0])


def make_service(**limits: Any) -> InProcessService:
    service = InProcessService(Limits(**limits))
    service.create_room()
    return service


def pass_time_and_retain(service: InProcessService, seconds: float) -> None:
    """Move the clock at once, then let retention run for some rounds."""
    service.clock.advance(seconds)
    service.pass_time(2 * service.limits.retention_interval_s)


def test_events_expire() -> None:
    service = make_service(events_kept_s=DAY_S)
    service.send_message()
    service.clock.advance(DAY_S / 2)
    service.join("builder", "a")
    service.leave("builder", "a")
    service.pass_time(120)
    assert service.event_types()[:2] == ["server.started", "room.created"]
    pass_time_and_retain(service, DAY_S / 2)
    assert service.event_types() == ["participant.joined", "participant.left"]
    assert StreamCursors(room_stream(service.show_room().id)).decode(service.show_room().cursor) == 5


def test_event_limit_is_per_stream() -> None:
    service = make_service(events_kept_max=10)
    service.create_room("quiet")
    for number in range(20):
        service.join("builder", f"c{number}")
        service.leave("builder", f"c{number}")
    for _ in range(2):
        service.pass_time(2 * service.limits.retention_interval_s)
        streams = [event.stream for event in service.events()]
        assert streams.count(f"room:{service.show_room().id}") == 10
        assert streams.count(f"room:{service.show_room('quiet').id}") == 1
        service.restart_server()


@pytest.mark.parametrize("path", ["/api/v1/rooms/r/events", "/api/v1/events", "/api/v1/machines/m1/events"])
def test_stream_is_reset_after_retention(path: str) -> None:
    with InProcessServer(Limits(events_kept_max=5, feed_events_kept=2, stream_heartbeat_s=60)) as server:
        server.create_room()
        server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        server.put("/api/v1/machines/m1", {"name": "m", "harnesses": []})
        server.join()
        second = server.get(path).json[1]["cursor"]
        for number in range(10):
            server.join(connection=f"c{number}")
            server.put("/api/v1/machines/m1", {"name": f"m{number}", "harnesses": []})
        server.create_room("quiet")
        server.pass_time(2 * server.limits.retention_interval_s)
        *_, before_last, last = (event["cursor"] for event in server.get(f"{path}?limit=1000").json)

        async def scenario() -> None:
            for cursor in (None, second):
                stream = server.send("GET", path, headers={"accept": "text/event-stream", "last-event-id": cursor})
                reset = await stream.next_event()
                assert ("reset", last) == (reset["event"], reset["id"])
                stream.disconnect()
            newest = server.send("GET", path, headers={"accept": "text/event-stream", "last-event-id": before_last})
            assert last == (await newest.next_event())["id"]
            newest.disconnect()

        server.run(scenario())


def test_participants_expire_but_newest_of_role() -> None:
    service = make_service(participants_kept_s=DAY_S)
    for number in range(5):
        service.join("builder", f"c{number}")
        service.leave("builder", f"c{number}")
    service.pass_time(DAY_S / 24)
    assert count_rows(service, "participants") == 5
    pass_time_and_retain(service, DAY_S)
    assert count_rows(service, "participants") == 1
    service.restart_server()
    assert service.beat("builder", "c4").status == "superseded"
    assert service.join("builder", "new").epoch == 6


def test_participant_with_open_attempt_is_kept() -> None:
    service = make_service(participants_kept_s=DAY_S)
    task = service.join_and_claim("builder", "a")
    service.leave("builder", "a")
    for connection in ("b", "c"):
        service.join("builder", connection)
        assert service.claim("builder", connection) is not None
        service.leave("builder", connection)
    service.join("builder", "d")
    pass_time_and_retain(service, 3 * DAY_S)
    assert count_rows(service, "participants") == 4
    with pytest.raises(Superseded, match="no longer counts"):
        service.complete(task.id, "a", 1, "late")
    assert [late.text for late in service.show_task(task.id).late_results] == ["late"]
    service.cancel(task.id)
    pass_time_and_retain(service, DAY_S)
    assert count_rows(service, "participants") == 1


def test_kept_participants_do_not_block_deletion() -> None:
    service = InProcessService(Limits(participants_kept_s=DAY_S, retention_rows_max=1))
    service.create_room(roles=tuple(f"role{number}" for number in range(30)))
    for number in range(30):
        service.join(f"role{number}", "a")
        service.leave(f"role{number}", "a")
    service.clock.advance(1)
    for _ in range(3):
        service.join("role7", f"b{_}")
        service.leave("role7", f"b{_}")
    pass_time_and_retain(service, DAY_S)
    assert count_rows(service, "participants") == 30


def make_report(number: int) -> AgentReport:
    return AgentReport(id=f"f{number}", kind="started", room="r", role="builder", connection_id="a")


def test_reports_expire() -> None:
    service = make_service(reports_kept_s=DAY_S)
    service.register_machine()
    service.beat_machine()
    assert service.send_reports(make_report(1)).accepted == 1
    assert service.send_reports(make_report(1)).accepted == 0
    service.pass_time(120)
    assert count_rows(service, "reports") == 1
    pass_time_and_retain(service, DAY_S)
    assert count_rows(service, "reports") == 0


def test_incarnations_expire_but_newest() -> None:
    service = make_service(incarnations_kept_s=DAY_S)
    service.register_machine()
    for number in range(5):
        service.beat_machine(incarnation=f"i{number}")
    service.pass_time(120)
    assert service.beat_machine(incarnation="i2").status == "superseded"
    pass_time_and_retain(service, DAY_S)
    assert count_rows(service, "incarnations") == 1
    assert service.beat_machine(incarnation="i4").status == "ok"


def test_idempotency_answers_expire() -> None:
    with InProcessServer(Limits(idempotency_kept_s=DAY_S)) as server:
        server.create_room()
        counted = Statement(select(func.count()).select_from(tables.metadata.tables["idempotency_keys"]))

        def count_answers() -> Any:
            return server.store.read(lambda reader: reader.rows(counted))[0][0]

        def send_message(key: str) -> None:
            body = {"sender": "user", "text": "do it"}
            server.post("/api/v1/rooms/r/messages", body, headers={"idempotency-key": key})

        for number in range(5):
            send_message(f"k{number}")
        server.clock.advance(DAY_S + 1)
        send_message("new")
        assert count_answers() == 6
        server.pass_time(2 * server.limits.retention_interval_s)
        assert count_answers() == 1


def test_remembered_ended_participants_limit() -> None:
    service = make_service(participants_remembered_max=3)
    for number in range(6):
        service.join("builder", f"c{number}")
    for _ in range(2):
        assert [service.beat("builder", f"c{number}").status for number in range(6)] == [
            *["rejoin_required"] * 2,
            *["superseded"] * 3,
            "ok",
        ]
        assert service.join("builder", "c0").status == "superseded"
        service.restart_server()


def test_lease_table_forgets_ended_participants() -> None:
    leases = LeaseTable(1.0, closed_max=2)
    for number in range(1000):
        leases.record_closed(f"room/{number}", "a")
        leases.record_closed(f"room/{number}", "a")
    assert leases.get_verdict("room/999", "a") == leases.get_verdict("room/998", "a") == "superseded"
    assert leases.get_verdict("room/997", "a") == "rejoin_required"
    assert len(leases._closed) == len(leases._closings) == 2


def test_deleted_machine_is_purged() -> None:
    service = make_service()
    service.register_machine()
    service.beat_machine()
    service.send_reports(*(make_report(number) for number in range(50)))
    service.delete_machine()
    assert service.event_types()[-1] == "machine.deleted"
    assert (count_rows(service, "machines"), count_rows(service, "incarnations")) == (0, 0)
    pass_time_and_retain(service, service.limits.reports_kept_s)
    for table in ("reports", "deletions"):
        assert count_rows(service, table) == 0, table
    for table in ("events", "streams"):
        assert service.count_rows(table, "stream", "machine:m1") == 0, table
    service.register_machine()
    assert service.beat_machine().status == "ok"


def test_reregistered_machine_keeps_events() -> None:
    service = make_service()
    service.register_machine()
    service.delete_machine()
    service.register_machine()
    pass_time_and_retain(service, 0)
    assert service.count_rows("events", "stream", "machine:m1") == 2
    assert count_rows(service, "deletions") == 0


def test_retention_interval_and_batch_size() -> None:
    service = make_service(reports_kept_s=1, retention_interval_s=100, retention_rows_max=7)
    service.register_machine()
    service.beat_machine()
    service.pass_time(10)
    for number in range(50):
        service.clock.advance(0.01)
        service.send_reports(make_report(number))
    service.pass_time(80)
    assert count_rows(service, "reports") == 50
    batches = service.store.writer.batches
    service.pass_time(20)
    assert count_rows(service, "reports") == 0
    assert service.store.writer.batches - batches >= 50 / 7


@pytest.mark.parametrize("step", ["delete_events", "delete_incarnations"])
def test_failing_table_does_not_stop_retention(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the steps after it, nor those before it, whose work its failure undid."""
    service = make_service(reports_kept_s=1)

    def fail(*_: object) -> int:
        raise ValueError("broken on purpose")

    monkeypatch.setattr(f"greenroom.store.retention.{step}", fail)
    service.register_machine()
    service.beat_machine()
    service.send_reports(make_report(1))
    service.pass_time(130)
    assert count_rows(service, "reports") == 0


def test_retention_retries_after_store_outage(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(events_kept_s=DAY_S)
    kept = service.event_types()
    refused: Future[None] = Future()
    refused.set_exception(StoreUnavailable("The store could not commit.", "Send it again."))
    service.clock.advance(2 * DAY_S)
    with monkeypatch.context() as patch:
        patch.setattr(service.store, "write", lambda mutation: refused)
        retention.continue_round(service.context)
        for _ in range(3):
            retention.continue_round(service.context)
    log_records = [record for record in caplog.records if record.name == "greenroom.service.retention"]
    assert ["WARNING"] == [record.levelname for record in log_records], "an outage is logged once a round"
    assert kept == service.event_types()
    service.pass_time(2 * service.limits.retention_interval_s)
    assert kept != service.event_types()
