from greenroom.client.briefing import next_in_line, task_environment
from tests.unit.scripted import CONNECTION, claimed


def test_the_next_in_line_is_the_next_role_and_at_last_the_user() -> None:
    roles = ("planner", "builder", "reviewer")
    assert ["builder", "reviewer", "user"] == [next_in_line(roles, role) for role in roles]


def test_a_run_is_told_its_own_token_and_no_other() -> None:
    told = task_environment("http://there", "demo", "builder", claimed(), CONNECTION)
    names = ("URL", "ROOM", "ROLE", "TASK", "ATTEMPT", "CONNECTION", "TOKEN")
    assert {f"GREENROOM_{name}" for name in names} == set(told)
    assert ("secret", "1") == (told["GREENROOM_TOKEN"], told["GREENROOM_ATTEMPT"])
