"""`greenroom.toml`: what it means, and what is said when it cannot be meant."""

import sys
from pathlib import Path

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.project import Project, load_project

ROOM = '[room]\nname = "shop"\nroles = ["builder", "reviewer"]\n'


def load(tmp_path: Path, text: str) -> Project:
    path = tmp_path / "greenroom.toml"
    path.write_text(text, "utf-8")
    return load_project(path)


def test_an_agents_own_command_is_a_harness_of_this_machine(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        ROOM
        + '[agents.builder]\ncommand = ["{python}", "{here}/build.py"]\nthen = "user"\ntask_timeout_s = 9\n'
        + 'env = { OUT = "{here}/out" }\n[agents.reviewer]\nharness = "careful"\n'
        + '[daemon.harnesses.careful]\ncommand = ["review"]\n',
    )

    harnesses = project.harnesses()
    assert {"shop.builder", "careful"} == set(harnesses)
    builder = harnesses["shop.builder"]
    assert (sys.executable, f"{tmp_path}/build.py") == builder.command
    assert ("user", 9, {"OUT": f"{tmp_path}/out"}) == (builder.then, builder.task_timeout_s, builder.env)
    assert ["shop.builder", "careful", None] == [project.harness_of(role) for role in ("builder", "reviewer", "nobody")]


def test_paths_are_meant_from_where_the_file_lies(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        ROOM
        + '[agents.builder]\ncommand = ["a"]\n[agents.reviewer]\nharness = "h"\nworkdir = "reviews"\n'
        + '[daemon]\nallowed_dirs = ["reviews", "/srv"]\n',
    )

    assert str(tmp_path) == project.agents["builder"].workdir
    assert f"{tmp_path}/reviews" == project.agents["reviewer"].workdir
    assert (f"{tmp_path}/reviews", "/srv") == project.daemon.allowed_dirs


def test_agents_may_work_beside_their_file_and_nowhere_else_by_default(tmp_path: Path) -> None:
    assert (str(tmp_path),) == load(tmp_path, ROOM + '[agents.builder]\ncommand = ["a"]\n').daemon.allowed_dirs
    assert () == load(tmp_path, ROOM).daemon.allowed_dirs


def test_another_machines_paths_are_left_as_they_are(tmp_path: Path) -> None:
    project = load(tmp_path, ROOM + '[agents.builder]\nharness = "h"\nmachine = "m"\nworkdir = "/there"\n')

    assert "/there" == project.agents["builder"].workdir


@pytest.mark.parametrize(
    ("text", "detail", "guidance"),
    [
        (ROOM + "max_request = 2", "`room.max_request`: unknown key", "Did you mean `max_requests`?"),
        ("[rooms]\n", "`rooms`: unknown key", "Did you mean `room`?"),
        (ROOM + '[agents.builder]\ncomand = ["a"]', "`agents.builder.comand`: unknown key", "Did you mean `command`?"),
        (ROOM + '[agents.bilder]\ncommand = ["a"]', "the room has no role `bilder`", "Did you mean `builder`?"),
        (ROOM + 'entry_role = "reviwer"', "`room.entry_role`: the room has no role", "Did you mean `reviewer`?"),
        (ROOM + '[agents.builder]\ncommand = ["a"]\nthen = "usr"', "`agents.builder.then`", "Did you mean `user`?"),
        ("[daemon]\nallowed_dir = []", "`daemon.allowed_dir`: unknown key", "Did you mean `allowed_dirs`?"),
        ('[daemon.harnesses.a]\ncmd = ["a"]', "`daemon.harnesses.a.cmd`: unknown key", "`command`"),
        (ROOM + '[agents.builder]\ncommand = "a b"', "`agents.builder.command`", "Correct the value."),
        (ROOM + "[agents.builder]\ncommand = []", "`agents.builder.command`", "Correct the value."),
        (
            ROOM + '[agents.builder]\ndesired = "on"',
            "`agents.builder.desired`: invalid enum value",
            "Correct the value.",
        ),
        ('[room]\nname = "shop"\n', "missing required field `roles`", "Correct the value."),
        ('[room]\nname = "a b"\nroles = ["x"]', "`room.name`", "Use 1 to 64 ASCII letters"),
        ('[room]\nname = "a"\nroles = ["user"]', "`room.roles`", "'user' and 'system'"),
        ('[room]\nname = "a"\nroles = ["x", "x"]', "a role stands there twice", "a name of its own"),
        ('[agents.x]\ncommand = ["a"]', "`agents`: there is no room", "Add a [room]"),
        (ROOM + '[agents.builder]\ncommand = ["a"]\nharness = "h"', "both `command` and `harness`", "Keep one"),
        (ROOM + '[agents.builder]\ncommand = ["a"]\nmachine = "m"', "`agents.builder.machine`", "Remove `machine`"),
    ],
)
def test_what_cannot_be_meant_is_told_with_file_key_and_way_out(
    tmp_path: Path, text: str, detail: str, guidance: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)

    assert str(tmp_path / "greenroom.toml") in caught.value.detail
    assert detail in caught.value.detail
    assert guidance in caught.value.guidance


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_project(tmp_path / "greenroom.toml")
    (tmp_path / "greenroom.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_project(tmp_path / "greenroom.toml")
