from pathlib import Path

import msgspec
import pytest

from greenroom.daemon.harness import House
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.project import Harness
from greenroom.wire.replies import Wish

WISH = Wish(
    room="room_1",
    room_name="r",
    role="builder",
    roles=("builder", "reviewer"),
    desired="running",
    generation=1,
    harness="echo",
    model=None,
    workdir=None,
)


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
    with pytest.raises(ConfigurationError, match="not spelled out"):
        house(tmp_path).recipe(msgspec.structs.replace(WISH, workdir="allowed"))


@pytest.mark.parametrize("model", ["large", "maker/large-2.5:free", "eu.maker.large@1"])
def test_the_wished_model_is_told_to_the_command(tmp_path: Path, model: str) -> None:
    told = Harness(command=("agent", "--model={model}", "{model}"), env={"A": "b"})
    recipe = House({"echo": told}, (), tmp_path / "work").recipe(msgspec.structs.replace(WISH, model=model))
    assert ("agent", f"--model={model}", model) == recipe.command
    assert {"A": "b", "GREENROOM_MODEL": model} == recipe.env


@pytest.mark.parametrize("model", ["--dangerous", "a b", "-x", "a\nb", "$(id)"])
def test_a_model_cannot_be_an_option(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a model"):
        house(tmp_path).recipe(msgspec.structs.replace(WISH, model=model))


def test_a_command_that_needs_a_model_is_not_run_without_one(tmp_path: Path) -> None:
    told = Harness(command=("agent", "{model}"))
    with pytest.raises(ConfigurationError, match="needs to be told a model") as refusal:
        House({"echo": told}, (), tmp_path / "work").recipe(WISH)
    assert "greenroom agent set r/builder --model" in refusal.value.guidance
