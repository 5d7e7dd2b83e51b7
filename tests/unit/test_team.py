"""An agent in `greenroom.toml` becomes the agent spec of its role."""

from pathlib import Path
from typing import Any, cast

import pytest

from greenroom.cli.team import differs, wish_of
from greenroom.client.session import Session
from greenroom.settings.project import load_project
from greenroom.wire.replies import RoleView

TEAM = """
[room]
name = "shop"
roles = ["builder", "reviewer"]
[agents.builder]
harness = "h"
model = "large"
workdir = "/work"
task_timeout_s = 9
[agents.reviewer]
harness = "h"
env = { A = "b" }
[daemon.harnesses.h]
command = ["h"]
"""


def view(**more: Any) -> RoleView:
    told: dict[str, Any] = {"name": "builder", "kind": "remote", "machine": "m", "harness": "h"}
    told |= {"model": "large", "workdir": "/work", "task_timeout_s": 9.0, "desired": "running", "generation": 1}
    told |= {name: None for name in RoleView.__struct_fields__ if name not in told}
    return RoleView(**told | more)


def test_a_wish_says_all_that_the_file_says_of_an_agent(tmp_path: Path) -> None:
    (tmp_path / "greenroom.toml").write_text(TEAM)
    project = load_project(tmp_path / "greenroom.toml")
    nobody = cast(Session, None)
    wished = wish_of(nobody, view(), project.agents["builder"], str(project.harness_of("builder")), "m")
    assert ("m", "h", "large", "/work", 9.0) == (
        wished.machine,
        wished.harness,
        wished.model,
        wished.workdir,
        wished.task_timeout_s,
    )
    assert not differs(view(), wished)
    other = wish_of(nobody, view(), project.agents["reviewer"], str(project.harness_of("reviewer")), "m")
    assert ("shop.reviewer", None) == (other.harness, other.task_timeout_s)


@pytest.mark.parametrize(
    "now", [{"task_timeout_s": None}, {"task_timeout_s": 8.0}, {"model": None}, {"desired": "stopped"}]
)
def test_what_differs_is_wished_anew(tmp_path: Path, now: dict[str, Any]) -> None:
    (tmp_path / "greenroom.toml").write_text(TEAM)
    agent = load_project(tmp_path / "greenroom.toml").agents["builder"]
    wished = wish_of(cast(Session, None), view(generation=0), agent, "h", "m")
    assert differs(view(**now), wished)
