from pathlib import Path

import msgspec
import pytest

from greenroom.daemon.harness import House
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Wish
from tests.unit import stage

WISH = msgspec.structs.replace(stage.WISH, harness="echo")


def house(tmp_path: Path) -> House:
    (tmp_path / "allowed" / "inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    harness = Harness(command=("echo", "hi"), env={"A": "b"}, task_timeout_s=9.0)
    return House({"echo": harness}, (tmp_path / "allowed",), tmp_path / "work")


def test_a_wish_chooses_among_what_the_owner_defines(tmp_path: Path) -> None:
    recipe = house(tmp_path).recipe(WISH)
    assert (recipe.command, recipe.env, recipe.then, recipe.timeout_s) == (("echo", "hi"), {"A": "b"}, "reviewer", 9.0)
    assert recipe.workdir == (tmp_path / "work" / "r" / "builder").resolve()
    assert recipe.workdir.is_dir()


@pytest.mark.parametrize("harness", [None, "rm", "echo hi"])
def test_what_the_owner_does_not_define_is_not_run(tmp_path: Path, harness: str | None) -> None:
    with pytest.raises(ConfigurationError, match="defines no harness") as refusal:
        house(tmp_path).recipe(msgspec.structs.replace(WISH, harness=harness))
    assert "echo" in refusal.value.guidance


def test_the_last_role_hands_to_the_user(tmp_path: Path) -> None:
    assert house(tmp_path).recipe(msgspec.structs.replace(WISH, role="reviewer")).then == "user"


def test_an_allowed_directory_is_entered_as_what_it_is(tmp_path: Path) -> None:
    its_house = house(tmp_path)
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "allowed" / "inside")
    recipe = its_house.recipe(msgspec.structs.replace(WISH, workdir=str(tmp_path / "allowed" / "link")))
    assert recipe.workdir == (tmp_path / "allowed" / "inside").resolve()


@pytest.mark.parametrize("workdir", ["outside", "allowed/../outside", "allowed/escape", "allowed/none", "allowed2"])
def test_no_way_leads_out(tmp_path: Path, workdir: str) -> None:
    its_house = house(tmp_path)
    (tmp_path / "allowed" / "escape").symlink_to(tmp_path / "outside")
    (tmp_path / "allowed2").mkdir()
    with pytest.raises(ConfigurationError):
        its_house.recipe(msgspec.structs.replace(WISH, workdir=str(tmp_path / workdir)))


def test_a_relative_directory_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not an absolute path"):
        house(tmp_path).recipe(msgspec.structs.replace(WISH, workdir="allowed"))


@pytest.mark.parametrize("model", ["large", "maker/large-2.5:free", "eu.maker.large@1"])
def test_the_wished_model_is_told_to_the_command(tmp_path: Path, model: str) -> None:
    told = Harness(command=("agent", "--model={model}", "{model}"), env={"A": "b"})
    recipe = House({"echo": told}, (), tmp_path / "work").recipe(msgspec.structs.replace(WISH, model=model))
    assert ("agent", f"--model={model}", model) == recipe.command
    assert {"A": "b", "GREENROOM_MODEL": model} == recipe.env


@pytest.mark.parametrize("model", ["--dangerous", "a b", "-x", "a\nb", "$(id)"])
def test_a_model_cannot_be_an_option(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid model name"):
        house(tmp_path).recipe(msgspec.structs.replace(WISH, model=model))


def test_a_command_that_needs_a_model_is_not_run_without_one(tmp_path: Path) -> None:
    told = Harness(command=("agent", "{model}"))
    with pytest.raises(ConfigurationError, match="needs a model") as refusal:
        House({"echo": told}, (), tmp_path / "work").recipe(WISH)
    assert "greenroom agent set r/builder --model" in refusal.value.guidance


# Directories are checked on the disk before each run, and names from the server are not trusted.


def inside(workdir: Path) -> Wish:
    return msgspec.structs.replace(WISH, workdir=str(workdir))


def test_a_link_that_was_put_in_the_place_of_a_directory_leads_nowhere(tmp_path: Path) -> None:
    its_house, wished = house(tmp_path), tmp_path / "allowed" / "inside"
    assert wished.resolve() == its_house.recipe(inside(wished)).workdir
    wished.rmdir()
    wished.symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match=r"allows no agent to work in .*outside"):
        its_house.recipe(inside(wished))


def test_what_is_allowed_is_what_its_name_meant_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    its_house = House({"echo": Harness(command=("echo",))}, (link,), tmp_path / "work")
    assert (tmp_path / "real").resolve() == its_house.recipe(inside(link)).workdir
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="allows no agent to work in"):
        its_house.recipe(inside(link))
    assert (tmp_path / "real").resolve() == its_house.recipe(inside(tmp_path / "real")).workdir


def test_a_directory_that_is_gone_or_none_is_told(tmp_path: Path) -> None:
    its_house, wished = house(tmp_path), tmp_path / "allowed" / "inside"
    its_house.recipe(inside(wished))
    wished.rmdir()
    with pytest.raises(ConfigurationError, match=r"cannot be entered: .*No such file") as refusal:
        its_house.recipe(inside(wished))
    assert "Create it on this machine" in refusal.value.guidance
    wished.write_text("now a file")
    with pytest.raises(ConfigurationError, match="it is not a directory"):
        its_house.recipe(inside(wished))
    wished.unlink()
    wished.symlink_to(wished)
    with pytest.raises(ConfigurationError, match="cannot be entered"):
        its_house.recipe(inside(wished))


@pytest.mark.parametrize(
    "name", ["Allowed", "allowed ", "allowed\n", "allow\N{LATIN SMALL LETTER E WITH ACUTE}d", "a\0b"]
)
def test_a_name_that_only_looks_like_an_allowed_one_is_another(tmp_path: Path, name: str) -> None:
    its_house = house(tmp_path)
    if "\0" not in name:
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError):
        its_house.recipe(inside(tmp_path / name))


def test_two_spellings_of_one_letter_are_two_directories(tmp_path: Path) -> None:
    composed, decomposed = tmp_path / "caf\u00e9", tmp_path / "cafe\u0301"
    composed.mkdir()
    decomposed.mkdir(exist_ok=True)
    its_house = House({"echo": Harness(command=("echo",))}, (composed,), tmp_path / "work")
    assert composed.samefile(its_house.recipe(inside(composed)).workdir)
    if not composed.samefile(decomposed):
        with pytest.raises(ConfigurationError, match="allows no agent"):
            its_house.recipe(inside(decomposed))


def test_a_role_s_own_directory_cannot_be_a_way_out(tmp_path: Path) -> None:
    its_house = house(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match="allows no agent to work in"):
        its_house.recipe(WISH)


@pytest.mark.parametrize(
    "told",
    [
        {"room_name": "../../outside"},
        {"room_name": "/abs"},
        {"room_name": ".."},
        {"role": "../x", "roles": ("../x",)},
        {"role": "stranger"},
        {"room_name": ""},
    ],
)
def test_a_server_cannot_make_up_names_that_are_paths(tmp_path: Path, told: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="is invalid: its names"):
        house(tmp_path).recipe(msgspec.structs.replace(WISH, **told))
    assert [] == list((tmp_path / "outside").iterdir())
    assert not (tmp_path / "work").exists()


def test_how_a_command_says_its_end_and_whether_it_stays_is_the_owner_s_word(tmp_path: Path) -> None:
    harnesses = {
        "echo": Harness(command=("echo",), result="claude-code"),
        "stays": Harness(command=("echo",), resident=True),
    }
    its_house = House(harnesses, (), tmp_path / "work")
    told = its_house.recipe(WISH)
    assert ("claude-code", False) == (told.result, told.is_resident)
    stays = its_house.recipe(msgspec.structs.replace(WISH, harness="stays"))
    assert (None, True) == (stays.result, stays.is_resident)


def test_a_harness_is_offered_while_its_program_is_there(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    harnesses = {
        "by_path": Harness(command=("agent",)),
        "by_its_own_path": Harness(command=("agent",), env={"PATH": str(program.parent)}),
        "absolute": Harness(command=(str(program), "-p")),
        "beside_the_work": Harness(command=("./agent",)),
    }
    its_house = House(harnesses, (), tmp_path / "work")
    assert {"by_path"} == set(its_house.hindrances({"PATH": "/nowhere"}))
    assert {} == its_house.hindrances({"PATH": str(program.parent)})
    program.chmod(0o644)
    missing = its_house.hindrances({"PATH": str(program.parent)})
    assert {"by_path", "by_its_own_path", "absolute"} == set(missing)
    assert "Install it" in missing["absolute"].guidance


def test_more_harnesses_than_can_be_told_are_refused(tmp_path: Path) -> None:
    many = {f"h{place}": Harness(command=("echo",)) for place in range(65)}
    with pytest.raises(ConfigurationError, match="defines 65 harnesses"):
        House(many, (), tmp_path / "work")
