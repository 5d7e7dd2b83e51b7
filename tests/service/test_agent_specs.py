"""An agent spec is a state: setting what is already set disturbs no agent."""

from typing import Any

import msgspec
import pytest

from greenroom.service import roles
from greenroom.wire import requests
from greenroom.wire.replies import RoleView
from tests.service.in_process_service import InProcessService


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room()
    new_service.register_machine()
    new_service.beat_machine()
    new_service.set_agent_spec("builder")
    return new_service


def join_daemon_agent(service: InProcessService) -> None:
    service.join("builder", "A")
    service.beat_machine(("builder", "A"))


def assignments_version(service: InProcessService) -> int:
    return service.beat_machine().assignments_version


def set_spec_with_reason(service: InProcessService, reason: str | None) -> RoleView:
    body = requests.SetAgentSpec(kind="remote", machine="m1", harness="shell", reason=reason)
    return service.run_mutation(
        lambda tx: roles.set_agent_spec(service.context, tx, service.principal, "r", "builder", body)
    )


def test_same_spec_of_present_agent_changes_nothing(service: InProcessService) -> None:
    join_daemon_agent(service)
    events, known_version = service.event_types(), assignments_version(service)

    repeated = service.set_agent_spec("builder")

    assert (1, known_version, events) == (repeated.generation, assignments_version(service), service.event_types())


def test_new_reason_keeps_generation(service: InProcessService) -> None:
    join_daemon_agent(service)
    known_version = assignments_version(service)

    repeated = set_spec_with_reason(service, "it is needed")

    assert (1, "it is needed", known_version) == (
        repeated.generation,
        repeated.desired_reason,
        assignments_version(service),
    )
    assert "it is needed" == service.show_room().roles[0].desired_reason
    assert ("agent.configured", "it is needed") == (service.events()[-1].type, service.events()[-1].cause)


def test_same_spec_of_absent_agent_restarts_it(service: InProcessService) -> None:
    """A user who repeats it does not want to wait for the daemon's next try."""
    known_version = assignments_version(service)

    repeated = service.set_agent_spec("builder")

    assert (2, known_version + 1) == (repeated.generation, assignments_version(service))


def test_stopping_stopped_agent_changes_nothing(service: InProcessService) -> None:
    stopped = service.set_agent_spec("builder", desired="stopped")

    assert stopped == service.set_agent_spec("builder", desired="stopped")
    assert 3 == service.set_agent_spec("builder").generation


def test_restart_is_new_generation(service: InProcessService) -> None:
    join_daemon_agent(service)
    body = requests.GiveReason()

    repeated = service.run_mutation(
        lambda tx: roles.restart(service.context, tx, service.principal, "r", "builder", body)
    )

    assert 2 == repeated.generation


def test_returning_machine_reads_current_spec(service: InProcessService) -> None:
    """It is a state and no command: a machine that returns reads the current spec, none of those in between."""
    service.pass_time(service.limits.daemon_heartbeat_ttl_s + 2)
    for desired in ("stopped", "running", "stopped"):
        service.set_agent_spec("builder", desired=desired)

    service.beat_machine()

    assert [(assignment.desired, assignment.generation) for assignment in service.list_assignments().assignments] == [
        ("stopped", 4)
    ]


def set_spec(service: InProcessService, **fields: Any) -> RoleView:
    body = requests.SetAgentSpec(**{"kind": "remote", "machine": "m1", "harness": "shell"} | fields)
    return service.run_mutation(
        lambda tx: roles.set_agent_spec(service.context, tx, service.principal, "r", "builder", body)
    )


def assigned_generations(service: InProcessService) -> list[tuple[int, int | None]]:
    return [(each.generation, each.run_generation) for each in service.list_assignments().assignments]


@pytest.mark.parametrize(
    "change", [{"model": "m"}, {"harness": "h"}, {"workdir": "/w"}, {"task_timeout_s": 9.0}, {"empty": "failure"}]
)
def test_change_of_runs_counts_for_the_next_run(service: InProcessService, change: dict[str, Any]) -> None:
    join_daemon_agent(service)
    changed = set_spec(service, **change)
    assert (2, 1) == (changed.generation, changed.run_generation)
    assert [(2, 1)] == assigned_generations(service)
    assert change.items() <= msgspec.structs.asdict(changed).items()


def test_change_of_runs_now(service: InProcessService) -> None:
    join_daemon_agent(service)
    set_spec(service, model="m", now=True)
    assert [(2, 2)] == assigned_generations(service)


def test_same_spec_now_stops_run_of_earlier_spec(service: InProcessService) -> None:
    join_daemon_agent(service)
    set_spec(service, model="m")
    version = assignments_version(service)
    set_spec(service, model="m", now=True)
    assert [(2, 2)] == assigned_generations(service)
    assert version + 1 == assignments_version(service)
    set_spec(service, model="m", now=True)
    assert version + 1 == assignments_version(service)


def test_restart_is_not_undone_by_a_later_change(service: InProcessService) -> None:
    """The daemon may see only the newest spec: it still stops the run that was to be restarted."""
    join_daemon_agent(service)
    body = requests.GiveReason()
    service.run_mutation(lambda tx: roles.restart(service.context, tx, service.principal, "r", "builder", body))
    set_spec(service, model="m")
    assert [(3, 2)] == assigned_generations(service)


def test_stop_start_and_move_stop_the_run(service: InProcessService) -> None:
    service.register_machine("m2")
    join_daemon_agent(service)
    for generation, change in enumerate(({"desired": "stopped"}, {"desired": "running"}, {"machine": "m2"}), 2):
        changed = set_spec(service, model=f"m{generation}", **change)
        assert (generation, generation) == (changed.generation, changed.run_generation)


def test_task_timeout_is_part_of_spec(service: InProcessService) -> None:
    body = requests.SetAgentSpec(kind="remote", machine="m1", harness="shell", task_timeout_s=90.5)

    role = service.run_mutation(
        lambda tx: roles.set_agent_spec(service.context, tx, service.principal, "r", "builder", body)
    )

    assert (2, 90.5) == (role.generation, role.task_timeout_s)
    assert [90.5] == [assignment.task_timeout_s for assignment in service.list_assignments().assignments]
    assert role.configured_at == service.show_room().roles[0].configured_at == service.context.now().instant
