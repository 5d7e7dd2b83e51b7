"""A role's events as sentences with their causes, and which events and limits belong to a role."""

from typing import Any

import pytest

from greenroom.cli.evidence import all_gaps, concerns
from greenroom.cli.force import SERVER, TOLD, InForce, names_for
from greenroom.cli.narration import narrate
from greenroom.domain.event import Event
from greenroom.domain.reliability import Reliability
from tests.unit.test_cli_condition import role

AT = "2026-11-20T10:00:00.000Z"
LATER = "2026-11-20T10:05:00.000Z"
NAMES = {"m1": "attic", "m2": "cellar"}


def event(type: str, cause: str = "", pos: int = 1, at: str = AT, **data: Any) -> Event:
    return Event(pos=pos, stream="room:r", seq=pos, type=type, at=at, cause=cause, data=data)


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (
            event("agent.exited", "exit code 3\nno such file", task="task_1", attempt=2, code=3, until=LATER),
            "command failed for task_1 (attempt 2): exit code 3 no such file; no restart before 10:05:00Z",
        ),
        (
            event("agent.exited", "exited", task="task_1", attempt=1, signal=9, trial=True),
            "command failed for task_1 (attempt 1), probe run: killed by signal 9",
        ),
        (event("agent.exited", "exited"), "no command is running: exit status unknown"),
        (
            event("agent.exited", "the wish changed", intended=True, task="task_1", attempt=1),
            "command exited as intended for task_1 (attempt 1): the wish changed",
        ),
        (
            event("agent.parked", "3 unintended ends within 300 s", until=LATER),
            "crash-looping, held until 10:05:00Z, then one probe run: 3 unintended ends within 300 s",
        ),
        (
            event("agent.parked", "its trial ended too"),
            "crash-looping, held until a user restarts it: its trial ended too",
        ),
        (event("agent.paused", "quota", until=LATER), "paused until 10:05:00Z: quota"),
        (event("agent.paused", "paused"), "paused until a user restarts it"),
        (event("agent.unparked", "unparked"), "recovered: its probe run completed the task"),
        (
            event("role.wished", "lunch", by="operator", desired="stopped", kind="custom", generation=3),
            "operator set it to stopped, run by a user (generation 3): lunch",
        ),
        (
            event("participant.joined", "joined", connection_id="c1", epoch=2, machine="m1"),
            "joined on machine attic: c1 (epoch 2): joined",
        ),
        (event("machine.cloned", "another daemon", name="attic"), "machine attic has two daemons"),
        (
            event("task.released", "lost", task="task_1", attempt=1, deaths=2),
            "task_1 was released (attempt 1), 2 failures",
        ),
        (
            event("agent.exited", "ended by SIGKILL", task="task_1", attempt=1, signal=9),
            "command failed for task_1 (attempt 1): ended by SIGKILL",
        ),
        (
            event("task.noted", "operator", task="task_1", attempt=2, text="use blue"),
            "operator added a note to task_1 (attempt 2): use blue",
        ),
        (event("room.weathered", "rain", wind="west"), "room.weathered wind=west: rain"),
    ],
)
def test_what_happened_is_told_with_its_cause(happened: Event, said: str) -> None:
    [line] = narrate([happened], NAMES)
    assert line.startswith(f"10:00:00Z  {said}"), line


def test_a_move_is_told_as_one() -> None:
    wish: dict[str, Any] = {"by": "operator", "desired": "running", "kind": "remote", "harness": "careful"}
    told = list(
        narrate(
            [
                event("role.wished", "operator", machine="m1", generation=1, **wish),
                event("role.wished", "operator", machine="m1", generation=2, **wish),
                event("role.wished", "no disk", machine="m2", generation=3, **wish),
            ],
            NAMES,
        )
    )
    assert [
        "operator set it to running on machine attic with careful (generation 1)",
        "operator set it to running on machine attic with careful (generation 2)",
        "operator moved it from machine attic to machine cellar with careful (generation 3): no disk",
    ] == [line.partition("  ")[2] for line in told]


def test_what_an_agent_wrote_stays_on_its_line() -> None:
    [line] = narrate([event("agent.exited", "a\nb\x1b[2J" + "x" * 5000, code=1)], {})
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 500


def test_only_what_is_about_the_role_is_part_of_its_story() -> None:
    its_tasks: set[object] = {"task_1"}
    assert concerns(event("attention.raised", key="parked:room_1/builder"), "builder", its_tasks)
    assert concerns(event("attention.raised", key="quarantined:task_1"), "builder", its_tasks)
    assert not concerns(event("attention.raised", key="parked:room_1/reviewer"), "builder", its_tasks)
    assert not concerns(event("attention.raised", key="quarantined:task_2"), "builder", its_tasks)
    assert not concerns(event("task.claimed", role="reviewer"), "builder", its_tasks)


def test_the_gaps_of_role_and_machine_are_told_apart() -> None:
    gone, back = "2026-11-20T10:01:00.000Z", "2026-11-20T10:03:00.000Z"
    events = [
        event("participant.joined", role="builder"),
        event("machine.disconnected", "silent", at=gone, name="attic"),
        event("participant.expired", "silent", at=gone, role="builder"),
        event("machine.reconnected", at=back, name="attic"),
    ]
    assert [(None, None, None), ("attic", back, 120.0)] == [
        (gap.machine, gap.until, gap.seconds) for gap in all_gaps(events)
    ]


def test_the_limits_told_are_those_of_the_state() -> None:
    for status in ("parked", "backing_off", "starting", "working", "vacant", "waiting"):
        names = names_for(role(status))
        assert set(names) <= set(TOLD)
        assert len(names) == len(set(names)), status
    assert "park_pause_s" in names_for(role("parked"))
    assert "park_pause_s" not in names_for(role("waiting"))
    limits = Reliability()
    known = InForce(values={name: float(getattr(limits, name)) for name in TOLD}, origin=SERVER)
    assert any("its own variables differ" in line for line in known.tell(role("parked")))
    assert not any("its own variables differ" in line for line in known.tell(role("waiting")))
