"""Residents: the daemon beats for the participant, and the agent claims work with a token of its own."""

from collections.abc import Iterator

import pytest

from tests.service.in_process_server import InProcessServer

PARTICIPANT_PATH = "/api/v1/rooms/r/participants/builder"
CONNECTION = {"connection_id": "c1"}


class ResidentMachine:
    """Machine m1, whose daemon joined the role builder as c1, and the token that its agent got."""

    def __init__(self, server: InProcessServer) -> None:
        self.server = server
        server.create_room()
        server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["agent"]})
        server.put("/api/v1/rooms/r/roles/builder/agent", {"kind": "remote", "machine": "m1", "harness": "agent"})
        self.token = server.service_context.tokens.make_machine_token("m1")
        self.beat()
        assert 200 == server.post(f"{PARTICIPANT_PATH}/join", CONNECTION, token=self.token).status
        self.agent_token: str = server.post("/api/v1/rooms/r/roles/builder/token", token=self.token).json["token"]

    def beat(self) -> str:
        held = [{"room": "r", "role": "builder", "connection_id": "c1"}]
        body = {"incarnation": "i1", "agents": held}
        answer = self.server.post("/api/v1/machines/m1/heartbeat", body, token=self.token).json
        return str(answer["agents"][0]["status"])

    def participant_machines(self) -> list[str | None]:
        return [each["machine"] for each in self.server.show_room()["participants"]]


@pytest.fixture
def machine() -> Iterator[ResidentMachine]:
    with InProcessServer() as server:
        yield ResidentMachine(server)


def test_agent_join_keeps_machine(machine: ResidentMachine) -> None:
    server = machine.server
    joined = server.post(f"{PARTICIPANT_PATH}/join", CONNECTION, token=machine.agent_token).json
    assert (joined["status"], joined["ready_until"]) == ("ok", None)
    assert machine.participant_machines() == ["m1"]
    for _ in range(10):
        server.pass_time(25)
        assert machine.beat() == "ok"
    assert machine.participant_machines() == ["m1"]


def test_machine_beats_keep_resident_task(machine: ResidentMachine) -> None:
    server = machine.server
    server.send_message()
    claim = {"role": "builder", **CONNECTION, "detached": True}
    task = server.post("/api/v1/rooms/r/tasks/claim", claim, token=machine.agent_token).json
    started = server.post(f"/api/v1/tasks/{task['id']}/start", {**CONNECTION, "attempt": 1}, token=machine.agent_token)
    assert "in_progress" == started.json["status"]
    server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)
    assert machine.participant_machines() == []
    assert machine.beat() == "ok"
    assert machine.participant_machines() == ["m1"]
    done = server.post(f"/api/v1/tasks/{task['id']}/complete", {**CONNECTION, "attempt": 1}, token=machine.agent_token)
    assert "completed" == done.json["status"]


def test_agent_rejoins_before_machine_returns(machine: ResidentMachine) -> None:
    server = machine.server
    server.pass_time(server.limits.daemon_heartbeat_ttl_s + 2)
    assert "ok" == server.post(f"{PARTICIPANT_PATH}/join", CONNECTION, token=machine.agent_token).json["status"]
    assert machine.beat() == "ok"
    assert machine.participant_machines() == ["m1"]


def test_agent_rejoins_while_machine_is_connected(machine: ResidentMachine) -> None:
    """Its daemon's beats have not named it for a while."""
    server = machine.server
    for _ in range(6):
        server.pass_time(25)
        server.post("/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}, token=machine.token)
    assert machine.participant_machines() == []
    server.post(f"{PARTICIPANT_PATH}/join", CONNECTION, token=machine.agent_token)
    assert machine.participant_machines() == ["m1"]


def test_reassigned_role_gives_no_token(machine: ResidentMachine) -> None:
    server = machine.server
    server.put("/api/v1/rooms/r/roles/builder/agent", {"kind": "custom"})
    assert 403 == server.post("/api/v1/rooms/r/roles/builder/token", token=machine.token).status
