"""Residents: the daemon beats for the participant, and the agent claims work with a token of its own."""

from collections.abc import Iterator

import pytest

from tests.service.desk import Desk

SEAT = "/api/v1/rooms/r/participants/builder"
CONNECTION = {"connection_id": "c1"}


class Machine:
    """Machine m1, whose daemon joined the role builder as c1, and the token that its agent got."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.room()
        desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["agent"]})
        desk.put("/api/v1/rooms/r/roles/builder/agent", {"kind": "remote", "machine": "m1", "harness": "agent"})
        self.token = desk.world.keys.machine_token("m1")
        self.beat()
        assert 200 == desk.post(f"{SEAT}/join", CONNECTION, token=self.token).status
        self.agent: str = desk.post("/api/v1/rooms/r/roles/builder/token", token=self.token).json["token"]

    def beat(self) -> str:
        held = [{"room": "r", "role": "builder", "connection_id": "c1"}]
        body = {"incarnation": "i1", "agents": held}
        answer = self.desk.post("/api/v1/machines/m1/heartbeat", body, token=self.token).json
        return str(answer["agents"][0]["status"])

    def sits_on(self) -> list[str | None]:
        return [each["machine"] for each in self.desk.look()["participants"]]


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Desk() as desk:
        yield Machine(desk)


def test_what_the_agent_joins_stays_the_machines(machine: Machine) -> None:
    desk = machine.desk
    joined = desk.post(f"{SEAT}/join", CONNECTION, token=machine.agent).json
    assert (joined["status"], joined["ready_until"]) == ("ok", None)
    assert machine.sits_on() == ["m1"]
    for _ in range(10):
        desk.pass_time(25)
        assert machine.beat() == "ok"
    assert machine.sits_on() == ["m1"]


def test_its_work_lasts_as_long_as_the_machine_beats(machine: Machine) -> None:
    desk = machine.desk
    desk.say()
    asked = {"role": "builder", **CONNECTION, "hand_over": True}
    task = desk.post("/api/v1/rooms/r/tasks/claim", asked, token=machine.agent).json
    started = desk.post(f"/api/v1/tasks/{task['id']}/start", {**CONNECTION, "attempt": 1}, token=machine.agent)
    assert "in_progress" == started.json["status"]
    desk.pass_time(desk.limits.daemon_heartbeat_ttl_s + 2)
    assert machine.sits_on() == []
    assert machine.beat() == "ok"
    assert machine.sits_on() == ["m1"]
    done = desk.post(f"/api/v1/tasks/{task['id']}/complete", {**CONNECTION, "attempt": 1}, token=machine.agent)
    assert "completed" == done.json["status"]


def test_an_agent_that_comes_back_before_its_machine_comes_back_to_it(machine: Machine) -> None:
    desk = machine.desk
    desk.pass_time(desk.limits.daemon_heartbeat_ttl_s + 2)
    assert "ok" == desk.post(f"{SEAT}/join", CONNECTION, token=machine.agent).json["status"]
    assert machine.beat() == "ok"
    assert machine.sits_on() == ["m1"]


def test_also_while_its_machine_is_there(machine: Machine) -> None:
    """Its daemon's beats have not named it for a while."""
    desk = machine.desk
    for _ in range(6):
        desk.pass_time(25)
        desk.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}, token=machine.token)
    assert machine.sits_on() == []
    desk.post(f"{SEAT}/join", CONNECTION, token=machine.agent)
    assert machine.sits_on() == ["m1"]


def test_a_role_that_was_moved_away_gives_no_token_any_more(machine: Machine) -> None:
    desk = machine.desk
    desk.put("/api/v1/rooms/r/roles/builder/agent", {"kind": "custom"})
    assert 403 == desk.post("/api/v1/rooms/r/roles/builder/token", token=machine.token).status
