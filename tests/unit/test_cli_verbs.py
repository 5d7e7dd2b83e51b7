"""The table of commands: each has help and a function, and the command line is parsed as the table says."""

import pytest

from greenroom.cli import reference
from greenroom.cli.main import import_function, main
from greenroom.cli.parser import build_full_parser, parse
from greenroom.cli.verbs import GROUPS, VERBS, RoleAddress, Verb, all_arguments
from greenroom.exit_codes import ExitCode
from tests.architecture.tree import ROOT


@pytest.mark.parametrize("command", VERBS, ids=lambda command: command.name)
def test_every_command_has_help_and_function(command: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main([*command.name.split(), "--help"])
    shown = capsys.readouterr().out

    assert f"usage: greenroom {command.name}" in shown
    assert f"{command.help[0].upper()}{command.help[1:]}." in shown
    assert [] == [argument.names for argument in all_arguments(command) if not argument.options.get("help")]
    assert callable(import_function(command))


def test_command_names_and_groups() -> None:
    names = [name for command in VERBS for name in (command.name, *command.aliases)]

    assert len(set(names)) == len(names)
    assert set(GROUPS) == {name.partition(" ")[0] for name in names if " " in name}


def test_reference_is_current() -> None:
    """Regenerate it with: python -m greenroom.cli.reference > docs/cli.md"""
    assert reference.render() == (ROOT / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("stauts", "Did you mean `status`?"),
        ("rooom list", "Did you mean `room`?"),
        ("room crate x", "Did you mean `room create`?"),
        ("status --wach", "Did you mean `--watch`?"),
        ("send r text --too builder", "Did you mean `--to`?"),
        ("room", "room change, room close, room create, room delete, room list, room show"),
        ("--json status", "--json"),
        ("why shop", "'shop' is not ROOM/ROLE"),
        ("why shop/", "'shop/' is not ROOM/ROLE"),
        ("task list r --status done", "invalid choice"),
        ("room create r", "--roles"),
        ("room create r --roles a --max-requests 0", "not a whole number above 0"),
        ("wait-for-task r --role b --timeout=-1", "not a number of seconds"),
        ("work r --role b", "after `--`"),
        ("handoff hello", "--to"),
    ],
)
def test_usage_error_has_suggestion(typed: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ExitCode.USAGE == main(typed.split())

    captured = capsys.readouterr()
    assert message in captured.err
    assert "" == captured.out


def test_no_arguments_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert ExitCode.USAGE == main([])
    assert "wait-for-task" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--version"])
    assert 0 == main(["room", "--help"])
    assert "greenroom 0." in capsys.readouterr().out


def test_work_command_keeps_its_options() -> None:
    command, arguments = parse(["work", "shop", "--role", "builder", "--", "run", "--role", "x", "--", "y", "--json"])

    assert "work" == command.name
    assert ("shop", "builder", False) == (arguments.room, arguments.role, arguments.json)
    assert ["run", "--role", "x", "--", "y", "--json"] == arguments.command


def test_text_argument_position() -> None:
    assert "text" == parse(["send", "shop", "--to", "builder", "text"])[1].text
    assert "text" == parse(["send", "shop", "text", "--to", "builder"])[1].text
    assert "--text" == parse(["send", "shop", "--", "--text"])[1].text
    assert "-" == parse(["handoff", "--to", "user", "-"])[1].text
    assert parse(["task-complete", "--task", "t", "--attempt", "2"])[1].text is None


def test_role_address_and_alias() -> None:
    assert RoleAddress("shop", "builder") == parse(["why", "shop/builder"])[1].role_address
    assert "wait-for-task" == parse(["get-next-task", "shop", "--role", "b"])[0].name


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_has_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["completion", shell])
    shown = capsys.readouterr().out

    assert [] == [command.name for command in VERBS if command.name.rpartition(" ")[2] not in shown]


def test_whole_parser_equals_single_parser() -> None:
    typed = ["room", "create", "shop", "--roles", "a,b"]

    assert vars(build_full_parser().parse_args(typed)) == vars(parse(typed)[1])
