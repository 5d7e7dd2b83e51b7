"""Retention deletes old rows and nothing that is still in use; one test for each limit."""

from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy import func, select

from greenroom.domain.errors import StoreUnavailable, Superseded
from greenroom.domain.reliability import Reliability
from greenroom.service import retention
from greenroom.service.leases import LeaseTable
from greenroom.store import tables
from greenroom.store.statement import Statement
from greenroom.wire.requests import Fact
from tests.service.desk import Desk
from tests.service.house import House

DAY_S = 86_400.0


def rows(house: House, table: str) -> int:
    statement = Statement(select(func.count()).select_from(tables.metadata.tables[table]))
    row = house.store.read(lambda reader: reader.row(statement))
    assert row is not None
    return int(row[0])


def a_house(**limits: Any) -> House:
    house = House(Reliability(**limits))
    house.room()
    return house


def much_later(house: House, seconds: float) -> None:
    """Move the clock at once, then let retention run for some rounds."""
    house.clock.move(seconds)
    house.pass_time(2 * house.limits.retention_interval_s)


def test_events_are_kept_for_their_time() -> None:
    house = a_house(events_kept_s=DAY_S)
    house.send()
    house.clock.move(DAY_S / 2)
    house.join("builder", "a")
    house.leave("builder", "a")
    house.pass_time(120)
    assert house.event_types()[:2] == ["server.started", "room.created"]
    much_later(house, DAY_S / 2)
    assert house.event_types() == ["participant.joined", "participant.left"]
    assert house.look().cursor == 5


def test_a_stream_keeps_so_many_events_and_the_others_keep_theirs() -> None:
    house = a_house(events_kept_max=10)
    house.room("quiet")
    for number in range(20):
        house.join("builder", f"c{number}")
        house.leave("builder", f"c{number}")
    for _ in range(2):
        house.pass_time(2 * house.limits.retention_interval_s)
        streams = [event.stream for event in house.events()]
        assert streams.count(f"room:{house.look().id}") == 10
        assert streams.count(f"room:{house.look('quiet').id}") == 1
        house.open()


@pytest.mark.parametrize("path", ["/api/v1/rooms/r/events", "/api/v1/events", "/api/v1/machines/m1/events"])
def test_a_follower_of_what_is_forgotten_is_told_to_look_anew(path: str) -> None:
    with Desk(Reliability(events_kept_max=5, feed_events_kept=2, stream_comment_s=60)) as desk:
        desk.room()
        desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        for number in range(10):
            desk.join(connection=f"c{number}")
            desk.put("/api/v1/machines/m1", {"name": f"m{number}", "harnesses": []})
        desk.room("quiet")
        desk.pass_time(2 * desk.limits.retention_interval_s)
        last = desk.get(f"{path}?limit=1000").json[-1]["seq" if path != "/api/v1/events" else "pos"]

        async def story() -> None:
            for cursor in (0, 2):
                stream = desk.send("GET", path, headers={"accept": "text/event-stream", "last-event-id": str(cursor)})
                reset = await stream.frame()
                assert ("reset", str(last)) == (reset["event"], reset["id"])
                stream.leave()
            newest = desk.send("GET", path, headers={"accept": "text/event-stream", "last-event-id": str(last - 1)})
            assert str(last) == (await newest.frame())["id"]
            newest.leave()

        desk.run(story())


def test_sittings_are_kept_for_their_time_and_the_newest_of_a_role_for_ever() -> None:
    house = a_house(sittings_kept_s=DAY_S)
    for number in range(5):
        house.join("builder", f"c{number}")
        house.leave("builder", f"c{number}")
    house.pass_time(DAY_S / 24)
    assert rows(house, "sittings") == 5
    much_later(house, DAY_S)
    assert rows(house, "sittings") == 1
    house.open()
    assert house.beat("builder", "c4").status == "superseded"
    assert house.join("builder", "new").epoch == 6


def test_a_sitting_whose_work_may_still_come_is_kept() -> None:
    house = a_house(sittings_kept_s=DAY_S)
    task = house.working("builder", "a")
    house.leave("builder", "a")
    for connection in ("b", "c"):
        house.join("builder", connection)
        assert house.claim("builder", connection) is not None
        house.leave("builder", connection)
    house.join("builder", "d")
    much_later(house, 3 * DAY_S)
    assert rows(house, "sittings") == 4
    with pytest.raises(Superseded, match="no longer counts"):
        house.complete(task.id, "a", 1, "late")
    assert [late.text for late in house.task(task.id).late_results] == ["late"]
    house.cancel(task.id)
    much_later(house, DAY_S)
    assert rows(house, "sittings") == 1


def test_many_sittings_of_use_hide_none_of_no_use() -> None:
    house = House(Reliability(sittings_kept_s=DAY_S, retention_rows_max=1))
    house.room(roles=tuple(f"role{number}" for number in range(30)))
    for number in range(30):
        house.join(f"role{number}", "a")
        house.leave(f"role{number}", "a")
    house.clock.move(1)
    for _ in range(3):
        house.join("role7", f"b{_}")
        house.leave("role7", f"b{_}")
    much_later(house, DAY_S)
    assert rows(house, "sittings") == 30


def fact(number: int) -> Fact:
    return Fact(id=f"f{number}", kind="started", room="r", role="builder", connection_id="a")


def test_facts_are_known_for_their_time() -> None:
    house = a_house(facts_kept_s=DAY_S)
    house.register()
    house.beat_machine()
    assert house.report(fact(1)).accepted == 1
    assert house.report(fact(1)).accepted == 0
    house.pass_time(120)
    assert rows(house, "facts") == 1
    much_later(house, DAY_S)
    assert rows(house, "facts") == 0


def test_starts_of_daemons_are_known_for_their_time_and_the_newest_for_ever() -> None:
    house = a_house(incarnations_kept_s=DAY_S)
    house.register()
    for number in range(5):
        house.beat_machine(incarnation=f"i{number}")
    house.pass_time(120)
    assert house.beat_machine(incarnation="i2").status == "superseded"
    much_later(house, DAY_S)
    assert rows(house, "incarnations") == 1
    assert house.beat_machine(incarnation="i4").status == "ok"


def test_answers_are_kept_for_their_time_and_forgotten_by_nobody_who_asks() -> None:
    with Desk(Reliability(idempotency_kept_s=DAY_S)) as desk:
        desk.room()
        counted = Statement(select(func.count()).select_from(tables.metadata.tables["answers"]))

        def kept() -> Any:
            return desk.store.read(lambda reader: reader.rows(counted))[0][0]

        def say(key: str) -> None:
            body = {"sender": "user", "text": "do it"}
            desk.post("/api/v1/rooms/r/messages", body, headers={"idempotency-key": key})

        for number in range(5):
            say(f"k{number}")
        desk.clock.move(DAY_S + 1)
        say("new")
        assert kept() == 6
        desk.pass_time(2 * desk.limits.retention_interval_s)
        assert kept() == 1


def test_only_so_many_ended_sittings_are_remembered_where_beats_are_answered() -> None:
    house = a_house(sittings_remembered_max=3)
    for number in range(6):
        house.join("builder", f"c{number}")
    for _ in range(2):
        assert [house.beat("builder", f"c{number}").status for number in range(6)] == [
            *["rejoin_required"] * 2,
            *["superseded"] * 3,
            "ok",
        ]
        assert house.join("builder", "c0").status == "superseded"
        house.open()


def test_a_role_whose_last_ended_sitting_is_forgotten_takes_no_memory() -> None:
    leases = LeaseTable(1.0, closed_max=2)
    for number in range(1000):
        leases.close(f"room/{number}", "a")
        leases.close(f"room/{number}", "a")
    assert leases.verdict("room/999", "a") == leases.verdict("room/998", "a") == "superseded"
    assert leases.verdict("room/997", "a") == "rejoin_required"
    assert len(leases._closed) == len(leases._closings) == 2


def test_a_deleted_machine_is_forgotten_with_all_it_did() -> None:
    house = a_house()
    house.register()
    house.beat_machine()
    house.report(*(fact(number) for number in range(50)))
    house.delete_machine()
    assert house.event_types()[-1] == "machine.deleted"
    assert (rows(house, "machines"), rows(house, "incarnations")) == (0, 0)
    much_later(house, house.limits.facts_kept_s)
    for table in ("facts", "deletions"):
        assert rows(house, table) == 0, table
    for table in ("events", "streams"):
        assert house.count(table, "stream", "machine:m1") == 0, table
    house.register()
    assert house.beat_machine().status == "ok"


def test_a_machine_that_is_registered_again_keeps_its_history() -> None:
    house = a_house()
    house.register()
    house.delete_machine()
    house.register()
    much_later(house, 0)
    assert house.count("events", "stream", "machine:m1") == 2
    assert rows(house, "deletions") == 0


def test_a_round_comes_every_interval_and_takes_no_more_than_so_many_rows_at_a_time() -> None:
    house = a_house(facts_kept_s=1, retention_interval_s=100, retention_rows_max=7)
    house.register()
    house.beat_machine()
    house.pass_time(10)
    for number in range(50):
        house.clock.move(0.01)
        house.report(fact(number))
    house.pass_time(80)
    assert rows(house, "facts") == 50
    batches = house.store.writer.batches
    house.pass_time(20)
    assert rows(house, "facts") == 0
    assert house.store.writer.batches - batches >= 50 / 7


def test_what_cannot_be_forgotten_keeps_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    house = a_house(facts_kept_s=1)

    def fail(*_: object) -> int:
        raise ValueError("broken on purpose")

    monkeypatch.setattr("greenroom.store.retention.forget_events", fail)
    house.register()
    house.beat_machine()
    house.report(fact(1))
    house.pass_time(130)
    assert rows(house, "facts") == 0


def test_forgetting_waits_for_its_next_round_while_the_store_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = a_house(events_kept_s=DAY_S)
    kept = house.event_types()
    refused: Future[None] = Future()
    refused.set_exception(StoreUnavailable("The store could not commit.", "Send it again."))
    house.clock.move(2 * DAY_S)
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "write", lambda mutation: refused)
        retention.forget_on(house.world)
        for _ in range(3):
            retention.forget_on(house.world)
    said = [record for record in caplog.records if record.name == "greenroom.retention"]
    assert ["WARNING"] == [record.levelname for record in said], "an outage is logged once a round"
    assert kept == house.event_types()
    house.pass_time(2 * house.limits.retention_interval_s)
    assert kept != house.event_types()
