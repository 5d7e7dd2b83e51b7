from greenroom.client.run_spec import default_receiver, task_environment
from tests.unit.scripted_transport import CONNECTION, claimed_task


def test_default_receiver_is_next_role_then_user() -> None:
    roles = ("planner", "builder", "reviewer")
    assert ["builder", "reviewer", "user"] == [default_receiver(roles, role) for role in roles]


def test_task_environment_has_attempt_token() -> None:
    environment = task_environment("http://there", "demo", "builder", claimed_task(), CONNECTION)
    names = ("URL", "ROOM", "ROLE", "TASK", "ATTEMPT", "CONNECTION", "TOKEN")
    assert {f"GREENROOM_{name}" for name in names} == set(environment)
    assert ("secret", "1") == (environment["GREENROOM_TOKEN"], environment["GREENROOM_ATTEMPT"])
