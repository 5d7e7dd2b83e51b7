"""An agent in `greenroom.toml` becomes the agent spec of its role."""

from pathlib import Path
from typing import Any, cast

import pytest

from greenroom.cli.apply_project import project_spec, spec_differs
from greenroom.client.api_client import ApiClient
from greenroom.settings.project import load_project
from greenroom.wire.replies import RoleView

PROJECT = """
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


def make_role_view(**more: Any) -> RoleView:
    fields: dict[str, Any] = {"name": "builder", "kind": "remote", "machine": "m", "harness": "h"}
    fields |= {"model": "large", "workdir": "/work", "task_timeout_s": 9.0, "desired": "running", "generation": 1}
    fields |= {name: None for name in RoleView.__struct_fields__ if name not in fields}
    return RoleView(**fields | more)


def test_spec_from_project_file(tmp_path: Path) -> None:
    (tmp_path / "greenroom.toml").write_text(PROJECT)
    project = load_project(tmp_path / "greenroom.toml")
    no_session = cast(ApiClient, None)
    spec = project_spec(
        no_session, make_role_view(), project.agents["builder"], str(project.harness_of("builder")), "m"
    )
    assert ("m", "h", "large", "/work", 9.0) == (
        spec.machine,
        spec.harness,
        spec.model,
        spec.workdir,
        spec.task_timeout_s,
    )
    assert not spec_differs(make_role_view(), spec)
    other = project_spec(
        no_session, make_role_view(), project.agents["reviewer"], str(project.harness_of("reviewer")), "m"
    )
    assert ("shop.reviewer", None) == (other.harness, other.task_timeout_s)


@pytest.mark.parametrize(
    "now", [{"task_timeout_s": None}, {"task_timeout_s": 8.0}, {"model": None}, {"desired": "stopped"}]
)
def test_changed_spec_is_detected(tmp_path: Path, now: dict[str, Any]) -> None:
    (tmp_path / "greenroom.toml").write_text(PROJECT)
    agent = load_project(tmp_path / "greenroom.toml").agents["builder"]
    spec = project_spec(cast(ApiClient, None), make_role_view(generation=0), agent, "h", "m")
    assert spec_differs(make_role_view(**now), spec)
