"""`greenroom.toml`: what it sets, and the errors for invalid files."""

import sys
from pathlib import Path

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.project import Project, load_project

ROOM = '[room]\nname = "shop"\nroles = ["builder", "reviewer"]\n'
HARNESS = '[daemon.harnesses.h]\ncommand = ["h"]\n'


def load_text(tmp_path: Path, text: str) -> Project:
    path = tmp_path / "greenroom.toml"
    path.write_text(text, "utf-8")
    return load_project(path)


def test_agent_command_is_harness(tmp_path: Path) -> None:
    project = load_text(
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


def test_paths_are_relative_to_file(tmp_path: Path) -> None:
    project = load_text(
        tmp_path,
        ROOM
        + '[agents.builder]\ncommand = ["a"]\n[agents.reviewer]\nharness = "h"\nworkdir = "reviews"\n'
        + '[daemon]\nallowed_dirs = ["reviews", "/srv"]\n',
    )

    assert str(tmp_path) == project.agents["builder"].workdir
    assert f"{tmp_path}/reviews" == project.agents["reviewer"].workdir
    assert (f"{tmp_path}/reviews", "/srv") == project.daemon.allowed_dirs


def test_default_allowed_directory_is_project(tmp_path: Path) -> None:
    assert (str(tmp_path),) == load_text(tmp_path, ROOM + '[agents.builder]\ncommand = ["a"]\n').daemon.allowed_dirs
    assert () == load_text(tmp_path, ROOM).daemon.allowed_dirs


def test_agent_overrides_make_own_harness(tmp_path: Path) -> None:
    project = load_text(
        tmp_path,
        ROOM
        + '[agents.builder]\nharness = "h"\nthen = "user"\ntask_timeout_s = 9\nenv = { A = "{here}/a" }\n'
        + '[agents.reviewer]\nharness = "h"\ntask_timeout_s = 7\n'
        + '[daemon.harnesses.h]\ncommand = ["h"]\nenv = { A = "1", B = "2" }\nresult = "claude-code"\n',
    )

    assert ["shop.builder", "h"] == [project.harness_of(role) for role in ("builder", "reviewer")]
    own, shared = project.harnesses()["shop.builder"], project.harnesses()["h"]
    assert (("h",), {"A": f"{tmp_path}/a", "B": "2"}, "user", 9) == (own.command, own.env, own.then, own.task_timeout_s)
    assert "claude-code" == own.result
    assert ({"A": "1", "B": "2"}, None, None) == (shared.env, shared.then, shared.task_timeout_s)
    assert 7 == project.agents["reviewer"].task_timeout_s


def test_daemon_labels_and_resident(tmp_path: Path) -> None:
    text = '[daemon.labels]\ngpu = "two"\n[daemon.harnesses.a]\ncommand = ["a"]\nresident = true\n'
    daemon = load_text(tmp_path, text).daemon
    assert ({"gpu": "two"}, True) == (daemon.labels, daemon.harnesses["a"].resident)


def test_paths_of_other_machine_are_unchanged(tmp_path: Path) -> None:
    project = load_text(tmp_path, ROOM + '[agents.builder]\nharness = "h"\nmachine = "m"\nworkdir = "/there"\n')

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
        ('[room]\nname = "a"\nroles = ["x", "x"]', "a role is listed twice", "a different name"),
        ('[agents.x]\ncommand = ["a"]', "`agents`: there is no [room]", "Add a [room]"),
        (ROOM + '[agents.builder]\ncommand = ["a"]\nharness = "h"', "both `command` and `harness`", "Keep one"),
        (ROOM + '[agents.builder]\ncommand = ["a"]\nmachine = "m"', "`agents.builder.machine`", "Remove `machine`"),
        (ROOM + '[agents.builder]\nthen = "user"', "`then` would have no effect", "Give it a `command` or a `harness`"),
        (ROOM + "[agents.builder]\ntask_timeout_s = 9", "`task_timeout_s` would have no effect", "Give it a `command`"),
        (
            ROOM + '[agents.builder]\nharness = "h"\nenv = { A = "b" }',
            "`env` would not reach the harness `h`",
            "Set them in [daemon.harnesses] where it is defined",
        ),
        (
            ROOM + HARNESS + '[agents.builder]\nharness = "h"\nmachine = "m"\nthen = "user"\ntask_timeout_s = 9',
            "`then` would not reach the harness `h`",
            "leave `machine` out",
        ),
        (
            ROOM + '[agents.builder]\ncommand = ["a"]\n[daemon.harnesses."shop.builder"]\ncommand = ["b"]',
            "`daemon.harnesses.shop.builder`",
            "another name",
        ),
        (ROOM + HARNESS + 'result = "claude"', "`daemon.harnesses.h.result`", "Did you mean `claude-code`?"),
        (ROOM + HARNESS + 'result = "codex"', "unknown format `codex`", "GREENROOM_RESULT"),
        (ROOM + HARNESS + "resident = 1", "`daemon.harnesses.h.resident`", "Correct the value."),
        (HARNESS + 'resident = true\nresult = "opencode"', "`daemon.harnesses.h.result`", "Remove `result`"),
        (HARNESS + 'resident = true\nthen = "user"', "`daemon.harnesses.h.then`", "Remove `then`"),
        (HARNESS + "resident = true\ntask_timeout_s = 9", "`daemon.harnesses.h.task_timeout_s`", "or `resident`"),
        (
            ROOM + HARNESS + 'resident = true\n[agents.builder]\nharness = "h"\nthen = "user"',
            "`agents.builder.then`",
            "Remove `then`",
        ),
        (HARNESS + "task_timeout_s = inf", "`daemon.harnesses.h.task_timeout_s`", "Correct the value."),
        (HARNESS + 'env = { "A=B" = "c" }', "'A=B' cannot be a variable", "no `=`"),
        ('[daemon.harnesses.h]\ncommand = ["a\\u0000"]', "`daemon.harnesses.h.command`", "Remove it"),
        ("[daemon.label]\n", "`daemon.label`: unknown key", "Did you mean `labels`?"),
        ('[daemon.labels]\nos = "mine"', "`daemon.labels.os`: the machine sets this label by itself", "another name"),
        ('[daemon.labels]\nfound = "x"', "`daemon.labels.found`", "another name"),
        ('[daemon.labels]\n"a b" = "x"', "`daemon.labels.a b`", "ASCII letters"),
        (f'[daemon.labels]\na = "{257 * "x"}"', "at most 256", "Shorten it"),
        ("[daemon.labels]\n" + "".join(f'a{n} = ""\n' for n in range(61)), "more than 60", "Remove some."),
        (
            '[daemon]\nallowed_dirs = ["~nobody-of-that-name/x"]',
            "no home directory of that user",
            "Write the absolute path.",
        ),
        (
            ROOM + '[agents.builder]\ncommand = ["a"]\nworkdir = "~nobody-of-that-name"',
            "`agents.builder.workdir`",
            "Write the absolute path.",
        ),
        ('[daemon]\nallowed_dirs = ["a\\u0000"]', "`daemon.allowed_dirs`", "Remove it."),
    ],
)
def test_invalid_project_error_has_key_and_guidance(tmp_path: Path, text: str, detail: str, guidance: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(tmp_path, text)

    assert str(tmp_path / "greenroom.toml") in caught.value.detail
    assert detail in caught.value.detail
    assert guidance in caught.value.guidance


def test_unreadable_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_project(tmp_path / "greenroom.toml")
    (tmp_path / "greenroom.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_project(tmp_path / "greenroom.toml")


def test_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    """Some editors begin a UTF-8 file with it."""
    path = tmp_path / "greenroom.toml"
    path.write_bytes(b"\xef\xbb\xbf[room]\nname = 'shop'\nroles = ['builder']\n")
    project = load_project(path)
    assert project.room is not None
    assert "shop" == project.room.name


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("a = " + "[" * 5_000, "is nested too deeply"),
        ("a = " + "{b = " * 5_000, "is nested too deeply"),
        ("a = " + "9" * 5_000, "is not TOML"),
    ],
)
def test_file_that_python_cannot_read_is_told(tmp_path: Path, text: str, detail: str) -> None:
    path = tmp_path / "greenroom.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=detail):
        load_project(path)
