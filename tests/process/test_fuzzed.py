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

from tests.process import schemathesis_hooks
from tests.process.api import Api
from tests.process.installation import BASE_DURATIONS, Installation
from tests.waiting import PATIENCE_S

SHORT_POLLS: Final = {
    # A long poll would delay each of thousands of requests.
    "GREENROOM_CLAIM_WAIT_MAX_S": "0.02",
    "GREENROOM_ASSIGNMENTS_WAIT_MAX_S": "0.02",
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
GENERATED: Final = re.compile(r"(\d+) generated")
FINDINGS_SHOWN: Final = 12_000
SUMMARY_SHOWN: Final = 2_000
PHASES: Final = ("coverage", "fuzzing", "stateful")
EXAMPLES: Final = {"coverage": 1, "fuzzing": 8, "stateful": 100}
REQUESTS_MIN: Final = {"coverage": 1000, "fuzzing": 200, "stateful": 300}
"""Minimum of requests in each phase. A chain ends early where an answer differs from last time; then the test takes one
more seed."""
SEEDS_MAX: Final = 10
LONG_SEEDS: Final = range(1, 6)
LONG_EXAMPLES: Final = 500
LONG_REQUESTS_MIN: Final = 20_000


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation with a server only; `create_objects` fills it."""
    installation = Installation(tmp_path / "installation", BASE_DURATIONS | SHORT_POLLS)
    installation.start_server()
    yield installation
    installation.close()


def create_objects(api: Api, seed: int) -> dict[str, list[Any]]:
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
        for verb, more in (("complete", {}), ("decline", {"reason": "so"}), ("cancel", None), (None, None)):
            task = api.post(f"rooms/{room}/tasks/claim", role="builder", connection_id="c1")["id"]
            if verb is not None:
                body = {} if more is None else {"connection_id": "c1", "attempt": 1, **more}
                api.post(f"tasks/{task}/{verb}", **body)
    lists = ("events", "machines/m1/events", *(f"rooms/{room}/events" for room in rooms))
    cursors = [event["cursor"] for path in lists for event in api.get(f"{path}?limit=5")]
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
        "after": [*tasks, *cursors],
    }


def fuzz(installation: Installation, phases: str, examples: int, seed: int) -> int:
    """Generate and send requests; return how many. Fails with the findings, and with requests that get no answer.

    The amount is limited by number: schemathesis' own time limits, for a request and for generating one, are off.
    """
    environment = dict(os.environ)
    environment[schemathesis_hooks.KNOWN_VARIABLE] = json.dumps(create_objects(installation.api, seed))
    environment["SCHEMATHESIS_HOOKS"] = schemathesis_hooks.__name__
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    configuration = installation.root / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{installation.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {installation.token}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--no-color"),
        *("--request-timeout", str(PATIENCE_S), "--suppress-health-check", "all"),
    ]
    completed = subprocess.run(
        command, env=environment, cwd=installation.root, capture_output=True, text=True, check=False
    )
    print(completed.stdout[-SUMMARY_SHOWN:])
    assert completed.returncode == 0, completed.stdout[-FINDINGS_SHOWN:] + completed.stderr[-FINDINGS_SHOWN:]
    generated = GENERATED.search(completed.stdout)
    assert generated is not None, completed.stdout
    return int(generated[1])


def check_server_and_store(installation: Installation) -> None:
    """Assert that the server runs, has logged no traceback, and that its store is consistent."""
    assert installation.server is not None
    assert installation.server.poll() is None, "the server exited"
    assert "Traceback" not in installation.server.err
    with closing(sqlite3.connect(installation.data_dir / "greenroom.db")) as database:
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
def test_generated_requests(installation: Installation, phase: str) -> None:
    sent = 0
    for seed in range(20, 20 + SEEDS_MAX):
        sent += fuzz(installation, phase, EXAMPLES[phase], seed)
        if sent >= REQUESTS_MIN[phase]:
            break

    assert sent >= REQUESTS_MIN[phase]
    check_server_and_store(installation)


@pytest.mark.prove
@pytest.mark.parametrize("seed", LONG_SEEDS)
def test_generated_requests_at_length(installation: Installation, seed: int) -> None:
    sent = fuzz(installation, ",".join(PHASES), LONG_EXAMPLES, seed)

    assert sent >= LONG_REQUESTS_MIN
    check_server_and_store(installation)
