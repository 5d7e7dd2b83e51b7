"""What `agent set` says about a run that is at work."""

from pathlib import Path

import pytest

from greenroom.cli import connection, main
from greenroom.client import api_client
from tests.unit.test_cli_output import REVIEWER, ROLE, ROOM, FakeApi


@pytest.fixture
def fake_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApi:
    fake = FakeApi()
    for module in (api_client, connection):
        monkeypatch.setattr(module, "HttpTransport", lambda *_: fake)
    monkeypatch.setenv("HOME", str(tmp_path))
    return fake


@pytest.mark.parametrize(
    ("status", "after", "is_noted"),
    [
        ("working", {"generation": 5, "run_generation": 4}, True),
        ("waiting", {"generation": 5, "run_generation": 4}, False),
        ("working", {"generation": 5, "run_generation": 5}, False),
        ("working", {"generation": 4, "run_generation": 3}, False),
    ],
    ids=["run at work", "no run", "stopped", "unchanged"],
)
def test_change_for_the_next_run_is_noted(
    fake_api: FakeApi, capsys: pytest.CaptureFixture[str], status: str, after: dict[str, int], is_noted: bool
) -> None:
    fake_api.answers["GET", "/api/v1/rooms/shop"] = ROOM | {"roles": [ROLE | {"status": status}, REVIEWER]}
    fake_api.answers["PUT", "/api/v1/rooms/shop/roles/builder/agent"] = ROLE | after
    main.main(["agent", "set", "shop/builder", "--empty", "failure", "--now"])
    assert (True, "failure") == (fake_api.requests[-1][2]["now"], fake_api.requests[-1][2]["empty"])
    assert is_noted is ("counts for the next run" in capsys.readouterr().err)
