from pathlib import Path

import msgspec
import pytest

from greenroom.daemon.harness import HarnessPolicy
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Assignment
from tests.unit import one_role_daemon

SPEC = msgspec.structs.replace(one_role_daemon.SPEC, harness="echo")


def make_policy(tmp_path: Path) -> HarnessPolicy:
    (tmp_path / "allowed" / "inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    harness = Harness(command=("echo", "hi"), env={"A": "b"}, task_timeout_s=9.0)
    return HarnessPolicy({"echo": harness}, (tmp_path / "allowed",), tmp_path / "work")


def test_spec_selects_configured_harness(tmp_path: Path) -> None:
    recipe = make_policy(tmp_path).resolve_recipe(SPEC)
    assert (recipe.command, recipe.env, recipe.then, recipe.timeout_s) == (("echo", "hi"), {"A": "b"}, "reviewer", 9.0)
    assert recipe.workdir == (tmp_path / "work" / "r" / "builder").resolve()
    assert recipe.workdir.is_dir()


@pytest.mark.parametrize("harness", [None, "rm", "echo hi"])
def test_unknown_harness_is_rejected(tmp_path: Path, harness: str | None) -> None:
    with pytest.raises(ConfigurationError, match="defines no harness") as caught:
        make_policy(tmp_path).resolve_recipe(msgspec.structs.replace(SPEC, harness=harness))
    assert "echo" in caught.value.guidance


def test_last_role_hands_off_to_user(tmp_path: Path) -> None:
    assert make_policy(tmp_path).resolve_recipe(msgspec.structs.replace(SPEC, role="reviewer")).then == "user"


def test_allowed_directory_link_is_resolved(tmp_path: Path) -> None:
    policy = make_policy(tmp_path)
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "allowed" / "inside")
    recipe = policy.resolve_recipe(msgspec.structs.replace(SPEC, workdir=str(tmp_path / "allowed" / "link")))
    assert recipe.workdir == (tmp_path / "allowed" / "inside").resolve()


@pytest.mark.parametrize("workdir", ["outside", "allowed/../outside", "allowed/escape", "allowed/none", "allowed2"])
def test_workdir_outside_is_rejected(tmp_path: Path, workdir: str) -> None:
    policy = make_policy(tmp_path)
    (tmp_path / "allowed" / "escape").symlink_to(tmp_path / "outside")
    (tmp_path / "allowed2").mkdir()
    with pytest.raises(ConfigurationError):
        policy.resolve_recipe(msgspec.structs.replace(SPEC, workdir=str(tmp_path / workdir)))


def test_relative_workdir_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not an absolute path"):
        make_policy(tmp_path).resolve_recipe(msgspec.structs.replace(SPEC, workdir="allowed"))


@pytest.mark.parametrize("model", ["large", "maker/large-2.5:free", "eu.maker.large@1"])
def test_model_reaches_command_and_environment(tmp_path: Path, model: str) -> None:
    harness = Harness(command=("agent", "--model={model}", "{model}"), env={"A": "b"})
    recipe = HarnessPolicy({"echo": harness}, (), tmp_path / "work").resolve_recipe(
        msgspec.structs.replace(SPEC, model=model)
    )
    assert ("agent", f"--model={model}", model) == recipe.command
    assert {"A": "b", "GREENROOM_MODEL": model} == recipe.env


@pytest.mark.parametrize("model", ["--dangerous", "a b", "-x", "a\nb", "$(id)"])
def test_invalid_model_is_rejected(tmp_path: Path, model: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid model name"):
        make_policy(tmp_path).resolve_recipe(msgspec.structs.replace(SPEC, model=model))


def test_missing_model_is_rejected(tmp_path: Path) -> None:
    harness = Harness(command=("agent", "{model}"))
    with pytest.raises(ConfigurationError, match="needs a model") as caught:
        HarnessPolicy({"echo": harness}, (), tmp_path / "work").resolve_recipe(SPEC)
    assert "greenroom agent set r/builder --model" in caught.value.guidance


# Directories are checked on the disk before each run, and names from the server are not trusted.


def spec_with_workdir(workdir: Path) -> Assignment:
    return msgspec.structs.replace(SPEC, workdir=str(workdir))


def test_replaced_workdir_link_is_rejected(tmp_path: Path) -> None:
    policy, workdir = make_policy(tmp_path), tmp_path / "allowed" / "inside"
    assert workdir.resolve() == policy.resolve_recipe(spec_with_workdir(workdir)).workdir
    workdir.rmdir()
    workdir.symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match=r"allows no agent to work in .*outside"):
        policy.resolve_recipe(spec_with_workdir(workdir))


def test_allowed_directories_are_resolved_at_start(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    policy = HarnessPolicy({"echo": Harness(command=("echo",))}, (link,), tmp_path / "work")
    assert (tmp_path / "real").resolve() == policy.resolve_recipe(spec_with_workdir(link)).workdir
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="allows no agent to work in"):
        policy.resolve_recipe(spec_with_workdir(link))
    assert (tmp_path / "real").resolve() == policy.resolve_recipe(spec_with_workdir(tmp_path / "real")).workdir


def test_missing_workdir_is_rejected(tmp_path: Path) -> None:
    policy, workdir = make_policy(tmp_path), tmp_path / "allowed" / "inside"
    policy.resolve_recipe(spec_with_workdir(workdir))
    workdir.rmdir()
    with pytest.raises(ConfigurationError, match=r"cannot be entered: .*No such file") as caught:
        policy.resolve_recipe(spec_with_workdir(workdir))
    assert "Create it on this machine" in caught.value.guidance
    workdir.write_text("now a file")
    with pytest.raises(ConfigurationError, match="it is not a directory"):
        policy.resolve_recipe(spec_with_workdir(workdir))
    workdir.unlink()
    workdir.symlink_to(workdir)
    with pytest.raises(ConfigurationError, match="cannot be entered"):
        policy.resolve_recipe(spec_with_workdir(workdir))


@pytest.mark.parametrize(
    "name", ["Allowed", "allowed ", "allowed\n", "allow\N{LATIN SMALL LETTER E WITH ACUTE}d", "a\0b"]
)
def test_similar_directory_name_is_rejected(tmp_path: Path, name: str) -> None:
    policy = make_policy(tmp_path)
    if "\0" not in name:
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError):
        policy.resolve_recipe(spec_with_workdir(tmp_path / name))


def test_unicode_forms_are_different_directories(tmp_path: Path) -> None:
    composed, decomposed = tmp_path / "caf\u00e9", tmp_path / "cafe\u0301"
    composed.mkdir()
    decomposed.mkdir(exist_ok=True)
    policy = HarnessPolicy({"echo": Harness(command=("echo",))}, (composed,), tmp_path / "work")
    assert composed.samefile(policy.resolve_recipe(spec_with_workdir(composed)).workdir)
    if not composed.samefile(decomposed):
        with pytest.raises(ConfigurationError, match="allows no agent"):
            policy.resolve_recipe(spec_with_workdir(decomposed))


def test_role_directory_link_is_rejected(tmp_path: Path) -> None:
    policy = make_policy(tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match="allows no agent to work in"):
        policy.resolve_recipe(SPEC)


@pytest.mark.parametrize(
    "changes",
    [
        {"room_name": "../../outside"},
        {"room_name": "/abs"},
        {"room_name": ".."},
        {"role": "../x", "roles": ("../x",)},
        {"role": "stranger"},
        {"room_name": ""},
    ],
)
def test_names_from_server_are_no_paths(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="is invalid: its names"):
        make_policy(tmp_path).resolve_recipe(msgspec.structs.replace(SPEC, **changes))
    assert [] == list((tmp_path / "outside").iterdir())
    assert not (tmp_path / "work").exists()


def test_harness_sets_result_format_and_resident(tmp_path: Path) -> None:
    harnesses = {
        "echo": Harness(command=("echo",), result="claude-code"),
        "stays": Harness(command=("echo",), resident=True),
    }
    policy = HarnessPolicy(harnesses, (), tmp_path / "work")
    recipe = policy.resolve_recipe(SPEC)
    assert ("claude-code", False) == (recipe.result, recipe.is_resident)
    resident = policy.resolve_recipe(msgspec.structs.replace(SPEC, harness="stays"))
    assert (None, True) == (resident.result, resident.is_resident)


def test_harness_is_offered_while_program_exists(tmp_path: Path) -> None:
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
    policy = HarnessPolicy(harnesses, (), tmp_path / "work")
    assert {"by_path"} == set(policy.find_missing_programs({"PATH": "/nowhere"}))
    assert {} == policy.find_missing_programs({"PATH": str(program.parent)})
    program.chmod(0o644)
    missing = policy.find_missing_programs({"PATH": str(program.parent)})
    assert {"by_path", "by_its_own_path", "absolute"} == set(missing)
    assert "chmod +x" in missing["absolute"].guidance


def test_too_many_harnesses_are_rejected(tmp_path: Path) -> None:
    harnesses = {f"h{number}": Harness(command=("echo",)) for number in range(65)}
    with pytest.raises(ConfigurationError, match="defines 65 harnesses"):
        HarnessPolicy(harnesses, (), tmp_path / "work")
