"""Requests that schemathesis generates from the OpenAPI document: single ones, and chains along its links."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance import fuzzing
from tests.acceptance.api import Api
from tests.acceptance.house import CALM, House
from tests.waiting import PATIENCE_S

HURRIED: Final = {
    # A long poll would delay each of thousands of requests.
    "GREENROOM_CLAIM_WAIT_MAX_S": "0.02",
    "GREENROOM_WISHES_WAIT_MAX_S": "0.02",
}
ROOMS: Final = 8
TASKS: Final = 12
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
CONFIGURATION: Final = """
[phases.stateful]
max-steps = 30
inference.algorithms = []
"""
"""Chains follow the links of the document only, and none that schemathesis infers."""
CASES: Final = re.compile(r"(\d+) generated")
FINDINGS_SHOWN: Final = 12_000
SUMMARY_SHOWN: Final = 2_000
PHASES: Final = ("coverage", "fuzzing", "stateful")
EXAMPLES: Final = {"coverage": 1, "fuzzing": 8, "stateful": 100}
AT_LEAST: Final = {"coverage": 1000, "fuzzing": 200, "stateful": 300}
"""Minimum of requests in each phase. A chain ends early where an answer differs from last time; then the test takes one
more seed."""
SEEDS_MAX: Final = 10
SEEDS_AT_LENGTH: Final = range(1, 6)
EXAMPLES_AT_LENGTH: Final = 500
AT_LEAST_AT_LENGTH: Final = 20_000


@pytest.fixture
def furnished(tmp_path: Path) -> Iterator[House]:
    """An installation with a server only; `furnish` fills it."""
    house = House(tmp_path / "house", CALM | HURRIED)
    house.start_server()
    yield house
    house.close()


def furnish(api: Api, seed: int) -> dict[str, list[Any]]:
    """Create objects of every kind; return their values, by the name of the parameter or field."""
    tasks: list[str] = []
    rooms = [f"room{seed}.{number}" for number in range(ROOMS)]
    api.call("PUT", "machines/m1", {"name": "m1", "harnesses": ["shell"]})
    api.post("machines/m1/heartbeat", incarnation="i1")
    for room in rooms:
        api.post("rooms", name=room, roles=["builder", "reviewer"], max_requests=TASKS)
        api.call("PUT", f"rooms/{room}/roles/reviewer/agent", {"kind": "remote", "machine": "m1", "harness": "shell"})
        api.post(f"rooms/{room}/participants/builder/join", connection_id="c1")
        tasks += [api.post(f"rooms/{room}/messages", sender="user", text="do it")["task"]["id"] for _ in range(TASKS)]
        tasks.append(api.post(f"rooms/{room}/backlog", text="later")["id"])
        for ending, more in (("complete", {}), ("decline", {"reason": "so"}), ("cancel", None), (None, None)):
            task = api.post(f"rooms/{room}/tasks/claim", role="builder", connection_id="c1")["id"]
            if ending is not None:
                said = {} if more is None else {"connection_id": "c1", "attempt": 1, **more}
                api.post(f"tasks/{task}/{ending}", **said)
    return {
        "room": rooms,
        "role": ["builder", "reviewer"],
        "task": tasks,
        "machine": ["m1"],
        "connection_id": ["c1"],
        "incarnation": ["i1"],
        "sender": ["user", "builder"],
        "to": ["builder", "reviewer", "user"],
        "entry_role": ["builder"],
        "attempt": [1],
        "after": tasks,
    }


def fuzz(house: House, phases: str, examples: int, seed: int) -> int:
    """Generate and send requests; return how many. Fails with the findings, and with requests that get no answer.

    The amount is limited by number: schemathesis' own time limits, for a request and for generating one, are off.
    """
    environment = dict(os.environ)
    environment[fuzzing.KNOWN] = json.dumps(furnish(house.api, seed))
    environment["SCHEMATHESIS_HOOKS"] = fuzzing.__name__
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    configuration = house.root / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{house.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {house.token}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--no-color"),
        *("--request-timeout", str(PATIENCE_S), "--suppress-health-check", "all"),
    ]
    ran = subprocess.run(command, env=environment, cwd=house.root, capture_output=True, text=True, check=False)
    print(ran.stdout[-SUMMARY_SHOWN:])
    assert ran.returncode == 0, ran.stdout[-FINDINGS_SHOWN:] + ran.stderr[-FINDINGS_SHOWN:]
    told = CASES.search(ran.stdout)
    assert told is not None, ran.stdout
    return int(told[1])


def check_the_house_stands(house: House) -> None:
    """Assert that the server runs, has logged no traceback, and that its store is consistent."""
    assert house.server is not None
    assert house.server.poll() is None, "the server exited"
    assert "Traceback" not in house.server.err
    with closing(sqlite3.connect(house.data_dir / "greenroom.db")) as database:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        # No stream has a gap in its `seq`.
        assert (
            []
            == database.execute(
                "SELECT stream FROM events GROUP BY stream HAVING max(seq) - min(seq) + 1 <> count(*)"
            ).fetchall()
        )


@pytest.mark.process
@pytest.mark.parametrize("phase", PHASES)
def test_no_request_of_any_kind_breaks_anything(furnished: House, phase: str) -> None:
    sent = 0
    for seed in range(20, 20 + SEEDS_MAX):
        sent += fuzz(furnished, phase, EXAMPLES[phase], seed)
        if sent >= AT_LEAST[phase]:
            break

    assert sent >= AT_LEAST[phase]
    check_the_house_stands(furnished)


@pytest.mark.prove
@pytest.mark.parametrize("seed", SEEDS_AT_LENGTH)
def test_nor_does_one_of_a_hundred_thousand(furnished: House, seed: int) -> None:
    sent = fuzz(furnished, ",".join(PHASES), EXAMPLES_AT_LENGTH, seed)

    assert sent >= AT_LEAST_AT_LENGTH
    check_the_house_stands(furnished)
