"""A role's events as sentences with their causes, and which events and limits belong to a role."""

from typing import Any

import msgspec
import pytest

from greenroom.cli.event_text import format_history
from greenroom.cli.role_history import EVENTS_READ_MAX, concerns_role, find_all_gaps, read_recent_events
from greenroom.cli.why import LIMIT_NAMES, SERVER, LimitsInForce, limit_names_for
from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import Response
from greenroom.domain.event import Event
from greenroom.domain.limits import Limits
from tests.unit.scripted_transport import ScriptedTransport, json_response
from tests.unit.test_cli_role_status import make_role

AT = "2026-11-20T10:00:00.000Z"
LATER = "2026-11-20T10:05:00.000Z"
NAMES = {"m1": "attic", "m2": "cellar"}


def make_event(type: str, cause: str = "", pos: int = 1, at: str = AT, **data: Any) -> Event:
    return Event(pos=pos, stream="room:r", seq=pos, type=type, at=at, cause=cause, data=data)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            make_event("agent.exited", "exit code 3\nno such file", task="task_1", attempt=2, code=3, until=LATER),
            "command failed for task_1 (attempt 2): exit code 3 no such file; no restart before 10:05:00Z",
        ),
        (
            make_event("agent.exited", "exited", task="task_1", attempt=1, signal=9, probe=True),
            "command failed for task_1 (attempt 1), probe run: killed by signal 9",
        ),
        (make_event("agent.exited", "exited"), "no command is running: exit status unknown"),
        (
            make_event("agent.exited", "the agent spec changed", intended=True, task="task_1", attempt=1),
            "command exited as intended for task_1 (attempt 1): the agent spec changed",
        ),
        (
            make_event("agent.crash_looping", "3 failures within 300 s", until=LATER),
            "crash-looping, held until 10:05:00Z, then one probe run: 3 failures within 300 s",
        ),
        (
            make_event("agent.crash_looping", "its probe run failed too"),
            "crash-looping, held until a user restarts it: its probe run failed too",
        ),
        (make_event("agent.paused", "quota", until=LATER), "paused until 10:05:00Z: quota"),
        (make_event("agent.paused", "paused"), "paused until a user restarts it"),
        (make_event("agent.recovered", "recovered"), "recovered: its probe run completed the task"),
        (
            make_event("agent.configured", "lunch", by="operator", desired="stopped", kind="custom", generation=3),
            "operator set it to stopped, run by a user (generation 3): lunch",
        ),
        (
            make_event("participant.joined", "joined", connection_id="c1", epoch=2, machine="m1"),
            "joined on machine attic: c1 (epoch 2): joined",
        ),
        (make_event("machine.cloned", "another daemon", name="attic"), "machine attic has two daemons"),
        (
            make_event("task.released", "lost", task="task_1", attempt=1, failures=2),
            "task_1 was released (attempt 1), 2 failures",
        ),
        (
            make_event("agent.exited", "ended by SIGKILL", task="task_1", attempt=1, signal=9),
            "command failed for task_1 (attempt 1): ended by SIGKILL",
        ),
        (
            make_event("task.noted", "operator", task="task_1", attempt=2, text="use blue"),
            "operator added a note to task_1 (attempt 2): use blue",
        ),
        (make_event("room.weathered", "rain", wind="west"), "room.weathered wind=west: rain"),
    ],
)
def test_event_sentences(event: Event, text: str) -> None:
    [line] = format_history([event], NAMES)
    assert line.startswith(f"10:00:00Z  {text}"), line


def test_move_to_machine_is_one_sentence() -> None:
    spec: dict[str, Any] = {"by": "operator", "desired": "running", "kind": "remote", "harness": "careful"}
    lines = list(
        format_history(
            [
                make_event("agent.configured", "operator", machine="m1", generation=1, **spec),
                make_event("agent.configured", "operator", machine="m1", generation=2, **spec),
                make_event("agent.configured", "no disk", machine="m2", generation=3, **spec),
            ],
            NAMES,
        )
    )
    assert [
        "operator set it to running on machine attic with careful (generation 1)",
        "operator set it to running on machine attic with careful (generation 2)",
        "operator moved it from machine attic to machine cellar with careful (generation 3): no disk",
    ] == [line.partition("  ")[2] for line in lines]


def test_agent_text_stays_on_one_line() -> None:
    [line] = format_history([make_event("agent.exited", "a\nb\x1b[2J" + "x" * 5000, code=1)], {})
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 500


def test_only_events_of_role_are_selected() -> None:
    tasks: set[object] = {"task_1"}
    assert concerns_role(
        make_event("alert.raised", id="crash_looping:room_1/builder", role="builder"), "builder", tasks
    )
    assert concerns_role(make_event("alert.raised", id="quarantined:task_1", task="task_1"), "builder", tasks)
    assert not concerns_role(
        make_event("alert.raised", id="crash_looping:room_1/reviewer", role="reviewer"), "builder", tasks
    )
    assert not concerns_role(make_event("alert.raised", id="quarantined:task_2", task="task_2"), "builder", tasks)
    assert not concerns_role(make_event("task.claimed", role="reviewer"), "builder", tasks)


def test_newest_events_are_read_page_by_page() -> None:
    def page(*numbers: int) -> Response:
        views = [msgspec.structs.asdict(make_event("room.changed", pos=n)) | {"cursor": f"c{n}"} for n in numbers]
        return json_response(views)

    transport = ScriptedTransport(page(4, 5), page(6), page())
    session = ApiClient("http://there", None, Limits(page_max=200), transport)

    assert [4, 5, 6] == [event.seq for event in read_recent_events(session, "room_1")]
    queries = [path.partition("?")[2] for _, path, *_ in transport.requests]
    assert [f"newest={EVENTS_READ_MAX}&limit=200", "after=c5&limit=200", "after=c6&limit=200"] == queries


def test_gaps_of_role_and_machine() -> None:
    lost_at, back_at = "2026-11-20T10:01:00.000Z", "2026-11-20T10:03:00.000Z"
    events = [
        make_event("participant.joined", role="builder"),
        make_event("machine.disconnected", "silent", at=lost_at, name="attic"),
        make_event("participant.expired", "silent", at=lost_at, role="builder"),
        make_event("machine.reconnected", at=back_at, name="attic"),
    ]
    assert [(None, None, None), ("attic", back_at, 120.0)] == [
        (gap.machine, gap.until, gap.seconds) for gap in find_all_gaps(events)
    ]


def test_limits_for_status() -> None:
    for status in ("crash_looping", "backing_off", "starting", "working", "vacant", "waiting"):
        names = limit_names_for(make_role(status))
        assert set(names) <= set(LIMIT_NAMES)
        assert len(names) == len(set(names)), status
    assert "crash_loop_probe_after_s" in limit_names_for(make_role("crash_looping"))
    assert "crash_loop_probe_after_s" not in limit_names_for(make_role("waiting"))
    limits = Limits()
    limits_in_force = LimitsInForce(values={name: float(getattr(limits, name)) for name in LIMIT_NAMES}, origin=SERVER)
    assert any("its own variables differ" in line for line in limits_in_force.format_lines(make_role("crash_looping")))
    assert not any("its own variables differ" in line for line in limits_in_force.format_lines(make_role("waiting")))
