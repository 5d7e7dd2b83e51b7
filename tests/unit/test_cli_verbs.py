"""The table of commands: each has help and a function, and the command line is parsed as the table says."""

import pytest

from greenroom.cli import exits, reference
from greenroom.cli.main import function_of, main
from greenroom.cli.parser import parse, whole_parser
from greenroom.cli.verbs import GROUPS, VERBS, Seat, Verb, arguments_of
from tests.architecture.tree import ROOT


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_help_and_a_function(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main([*verb.name.split(), "--help"])
    shown = capsys.readouterr().out

    assert f"usage: greenroom {verb.name}" in shown
    assert f"{verb.help[0].upper()}{verb.help[1:]}." in shown
    assert [] == [argument.names for argument in arguments_of(verb) if not argument.options.get("help")]
    assert callable(function_of(verb))


def test_names_are_unique_and_groups_are_explained() -> None:
    names = [name for verb in VERBS for name in (verb.name, *verb.aliases)]

    assert len(set(names)) == len(names)
    assert set(GROUPS) == {name.partition(" ")[0] for name in names if " " in name}


def test_the_reference_is_current() -> None:
    """Regenerate it with: python -m greenroom.cli.reference > docs/cli.md"""
    assert reference.render() == (ROOT / "docs" / "cli.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("typed", "told"),
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
def test_wrong_usage_is_told_with_a_way_out(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.USAGE == main(typed.split())

    shown = capsys.readouterr()
    assert told in shown.err
    assert "" == shown.out


def test_nothing_typed_is_wrong_usage_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.USAGE == main([])
    assert "wait-for-task" in capsys.readouterr().out


def test_help_and_version_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--version"])
    assert 0 == main(["room", "--help"])
    assert "greenroom 0." in capsys.readouterr().out


def test_a_command_keeps_its_own_flags() -> None:
    verb, arguments = parse(["work", "shop", "--role", "builder", "--", "run", "--role", "x", "--", "y", "--json"])

    assert "work" == verb.name
    assert ("shop", "builder", False) == (arguments.room, arguments.role, arguments.json)
    assert ["run", "--role", "x", "--", "y", "--json"] == arguments.command


def test_a_text_may_stand_anywhere() -> None:
    assert "text" == parse(["send", "shop", "--to", "builder", "text"])[1].text
    assert "text" == parse(["send", "shop", "text", "--to", "builder"])[1].text
    assert "--text" == parse(["send", "shop", "--", "--text"])[1].text
    assert "-" == parse(["handoff", "--to", "user", "-"])[1].text
    assert parse(["task-complete", "--task", "t", "--attempt", "2"])[1].text is None


def test_a_seat_and_an_alias() -> None:
    assert Seat("shop", "builder") == parse(["why", "shop/builder"])[1].seat
    assert "wait-for-task" == parse(["get-next-task", "shop", "--role", "b"])[0].name


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["completion", shell])
    shown = capsys.readouterr().out

    assert [] == [verb.name for verb in VERBS if verb.name.rpartition(" ")[2] not in shown]


def test_the_whole_tree_reads_what_the_single_parsers_read() -> None:
    typed = ["room", "create", "shop", "--roles", "a,b"]

    assert vars(whole_parser().parse_args(typed)) == vars(parse(typed)[1])
