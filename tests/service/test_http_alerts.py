"""The list of alerts over HTTP: its rows, names that change, and late loops."""

from collections.abc import Iterator

import pytest

from greenroom.domain.alert import Alert
from greenroom.domain.errors import StoreUnavailable
from greenroom.store import alerts as stored_alerts
from tests.service.in_process_server import InProcessServer

FIELDS = [
    "id", "kind", "subject", "subjects", "room", "role", "request", "task", "text", "actions", "next", "raised_at",
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    with InProcessServer() as new_server:
        new_server.create_room()
        yield new_server


def loop_events(server: InProcessServer) -> list[tuple[str, str]]:
    events = server.get("/api/v1/events?limit=1000").json
    return [(each["type"], each["data"]["id"]) for each in events if each["data"].get("kind") == "loop_late"]


def test_row_of_a_role(server: InProcessServer) -> None:
    room = server.get("/api/v1/rooms/r").json["id"]
    message = {"sender": "user", "text": "do it", "to": "builder"}
    task = server.post("/api/v1/rooms/r/messages", message).json["task"]["id"]
    server.pass_time(server.limits.task_pending_timeout_s + 2)

    [row] = server.get("/api/v1/alerts").json

    assert FIELDS == list(row)
    assert f"unattended:{room}/builder" == row["id"]
    assert ("unattended", f"{room}/builder", [f"{room}/builder"]) == (row["kind"], row["subject"], row["subjects"])
    assert ("r", "builder", task, task) == (row["room"], row["role"], row["request"], row["task"])
    assert ([], "greenroom wait-for-task r --role builder") == (row["actions"], row["next"])


def test_renamed_room_keeps_ids(server: InProcessServer) -> None:
    server.post("/api/v1/rooms/r/messages", {"sender": "user", "text": "do it", "to": "builder"})
    server.pass_time(server.limits.task_pending_timeout_s + 2)
    [before] = server.get("/api/v1/alerts").json
    server.call("PATCH", "/api/v1/rooms/r", {"name": "studio"})

    [row] = server.get("/api/v1/alerts").json

    assert (before["id"], "studio") == (row["id"], row["room"])
    assert "room studio" in row["text"]
    assert "greenroom wait-for-task studio --role builder" == row["next"]


def test_alert_of_an_unknown_kind_is_listed(server: InProcessServer) -> None:
    alert = Alert(key="vacant:r/builder", text="Look.", raised_at="2026-11-20T10:00:00.000Z")
    server.store.run(lambda tx: stored_alerts.add(tx, alert))

    [row] = server.get("/api/v1/alerts").json

    assert ("vacant:r/builder", "Look.", [], "greenroom doctor") == (
        row["id"],
        row["text"],
        row["actions"],
        row["next"],
    )


def test_late_loop_is_raised_and_resolved(server: InProcessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError("the sweep is broken")

    with monkeypatch.context() as broken:
        broken.setattr("greenroom.service.sweeper.tick", fail)
        server.pass_time(server.limits.loop_late_after_s + 5)
        [row] = server.get("/api/v1/alerts").json
        assert ("loop_late:sweep", "sweep", None) == (row["id"], row["subject"], row["room"])
        assert [("alert.raised", "loop_late:sweep")] == loop_events(server)
    server.pass_time(2)

    assert [] == server.get("/api/v1/alerts").json
    assert [("alert.raised", "loop_late:sweep"), ("alert.resolved", "loop_late:sweep")] == loop_events(server)


def test_late_loop_is_listed_while_nothing_can_be_written(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise StoreUnavailable("The disk is full.", "Free some space.")

    server.service_context.sweep.is_recording = True
    with monkeypatch.context() as broken:
        broken.setattr(server.store, "write", fail)
        server.pass_time(server.limits.loop_late_after_s + 3)
        assert ["loop_late:record", "loop_late:sweep"] == [row["id"] for row in server.get("/api/v1/alerts").json]
        assert [] == loop_events(server)
        assert "feed" not in server.get("/healthz").json["late"], "the loop that looks at the others is late"
    server.pass_time(1)

    assert [("alert.raised", "loop_late:record")] == loop_events(server)


def test_pause_of_the_process_raises_nothing(server: InProcessServer) -> None:
    server.clock.advance(10 * server.limits.loop_late_after_s)
    server.context.background.tick_feed()
    server.run(server.tick_loops())
    server.pass_time(3)

    assert [] == loop_events(server)


def test_restarted_server_resolves_late_loops(server: InProcessServer) -> None:
    server.service_context.sweep.is_recording = True
    server.pass_time(server.limits.loop_late_after_s + 3)
    with InProcessServer(store=server.store, clock=server.clock) as restarted:
        assert [] == restarted.get("/api/v1/alerts").json
        restarted.pass_time(1)
        assert ("alert.resolved", "loop_late:record") == loop_events(restarted)[-1]
