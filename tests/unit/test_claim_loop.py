import threading
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.client.api_client import ApiClient
from greenroom.client.claim_loop import ClaimLoop
from greenroom.client.http_transport import Response
from greenroom.domain.errors import NotFound, Superseded
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.testing import MovedClock, SeededEntropy
from tests.unit.scripted_transport import (
    NoDelayEntropy,
    ScriptedTransport,
    Step,
    claimed_task,
    empty_response,
    json_response,
    problem_response,
    unreachable,
)
from tests.waiting import PATIENCE_S


class ClockMovingEvent(threading.Event):
    """An event whose `wait` moves the clock by the timeout instead of waiting."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.advance(timeout or 0.0)
        return self.is_set()


class ScriptedClaim:
    def __init__(self, *steps: Step, is_present: Callable[[], bool] = lambda: True, detached: bool = False) -> None:
        self.clock = MovedClock()
        self.transport = ScriptedTransport(*steps)
        self.beats_requested = 0
        self.claim = ClaimLoop(
            ApiClient("http://there", "t", DEFAULT_LIMITS, self.transport),
            "demo",
            "builder",
            "conn_1",
            is_present,
            self.request_beat,
            self.clock,
            NoDelayEntropy(1),
            detached=detached,
        )

    def request_beat(self) -> None:
        self.beats_requested += 1

    def after(self, seconds: float, response: Response) -> Callable[[], Response]:
        def step() -> Response:
            self.clock.advance(seconds)
            return response

        return step

    def bodies(self) -> list[Any]:
        return [body for _, _, body, _, _ in self.transport.requests]


def test_claim_repeats_until_task() -> None:
    scripted = ScriptedClaim(empty_response(), empty_response(), json_response(claimed_task()), detached=True)
    assert claimed_task() == scripted.claim.next_task()
    body = {"role": "builder", "connection_id": "conn_1", "wait_s": 25.0, "detached": True}
    assert [body] * 3 == scripted.bodies()
    method, path, _, _, timeout_s = scripted.transport.requests[0]
    assert ("POST", "/api/v1/rooms/demo/tasks/claim") == (method, path)
    assert timeout_s <= DEFAULT_LIMITS.heartbeat_interval_s


def test_claim_retries_without_limit() -> None:
    scripted = ScriptedClaim(
        unreachable(),
        problem_response("overloaded"),
        json_response({"strange": 1}),
        json_response(claimed_task()),
    )
    assert claimed_task() == scripted.claim.next_task()


def test_rejoin_required_triggers_beat_and_retry() -> None:
    scripted = ScriptedClaim(problem_response("rejoin_required"), json_response(claimed_task()))
    assert claimed_task() == scripted.claim.next_task()
    assert 1 == scripted.beats_requested


@pytest.mark.parametrize(("code", "error"), [("superseded", Superseded), ("not_found", NotFound)])
def test_permanent_errors_are_raised(code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        ScriptedClaim(problem_response(code)).claim.next_task()


def test_answer_older_than_lease_is_discarded() -> None:
    scripted = ScriptedClaim()

    def suspend() -> Response:
        scripted.clock.sleep(8 * 3600.0)
        return json_response(claimed_task())

    scripted.transport.steps += [suspend, json_response(claimed_task(attempt=2))]
    assert claimed_task(attempt=2) == scripted.claim.next_task()


def test_claim_stops_at_timeout() -> None:
    scripted = ScriptedClaim()
    scripted.transport.steps += [scripted.after(25.0, empty_response()), scripted.after(15.0, empty_response())]
    assert scripted.claim.next_task(timeout_s=40.0) is None
    assert [25.0, 15.0] == [body["wait_s"] for body in scripted.bodies()]


def test_zero_timeout_sends_one_claim() -> None:
    scripted = ScriptedClaim(json_response(claimed_task()))
    assert claimed_task() == scripted.claim.next_task(timeout_s=0.0)
    assert [0.0] == [body["wait_s"] for body in scripted.bodies()]


def test_claim_waits_until_present() -> None:
    presence = iter([False, False, True])
    scripted = ScriptedClaim(json_response(claimed_task()), is_present=lambda: next(presence))
    scripted.claim._step_s = 0.0
    assert claimed_task() == scripted.claim.next_task()
    assert 1 == len(scripted.transport.requests)


def test_renewed_claim_is_dropped_and_resent() -> None:
    scripted = ScriptedClaim()

    def dropped() -> Response:
        scripted.claim.renew()
        assert 1 == scripted.transport.drops
        raise unreachable()

    scripted.transport.steps += [dropped, json_response(claimed_task())]
    assert claimed_task() == scripted.claim.next_task()


@pytest.mark.parametrize("lost", [0, 2])
def test_ended_claim_is_dropped_and_not_resent(lost: int) -> None:
    """A drop that comes just before the claim is sent has no effect; without another the claim waits its full time."""
    scripted, is_sent, is_dropped = ScriptedClaim(), threading.Event(), threading.Event()

    class LossyTransport(ScriptedTransport):
        def drop(self) -> None:
            super().drop()
            if self.drops > lost:
                is_dropped.set()

    def wait_for_drop() -> Response:
        is_sent.set()
        assert is_dropped.wait(PATIENCE_S)
        raise unreachable()

    scripted.transport = LossyTransport(wait_for_drop)
    scripted.claim._session._transport = scripted.transport
    tasks: list[object] = []
    thread = threading.Thread(target=lambda: tasks.append(scripted.claim.next_task()))
    thread.start()
    assert is_sent.wait(PATIENCE_S)
    scripted.claim.stop()
    thread.join(PATIENCE_S)
    assert [None] == tasks
    assert scripted.claim.next_task() is None
    assert 1 == len(scripted.transport.requests)
    assert lost < scripted.transport.drops


class FixedEntropy(SeededEntropy):
    """Always draws the same fraction, so that the length of a pause is known."""

    def fraction(self) -> float:
        return 0.5


class SpreadClaim(ScriptedClaim):
    """A claim with `spread_retries` on, whose waits move the clock. Records when it sent each request."""

    def __init__(self, *steps: Step, is_present: Callable[[], bool] = lambda: True) -> None:
        super().__init__(*(self.timed(step) for step in steps), is_present=is_present)
        self.claim._entropy = FixedEntropy(1)
        self.claim._spread_retries = lambda: True
        self.claim._wakeup = ClockMovingEvent(self.clock)
        self.started_at = self.clock.boottime()
        self.requested_after_s: list[float] = []

    def timed(self, step: Step) -> Callable[[], Response]:
        def send() -> Response:
            self.requested_after_s.append(self.clock.boottime() - self.started_at)
            result = step() if callable(step) else step
            if isinstance(result, BaseException):
                raise result
            return result

        return send


def test_spread_retries_delays() -> None:
    spread = SpreadClaim(unreachable(), unreachable(), unreachable(), json_response(claimed_task()))
    assert claimed_task() == spread.claim.next_task()
    assert [0.0, 7.5, 22.5, 37.5] == spread.requested_after_s


def test_spread_renewal_keeps_delay() -> None:
    def renew() -> Response:
        spread.claim.renew()
        raise unreachable()

    spread = SpreadClaim(renew, json_response(claimed_task()))
    assert claimed_task() == spread.claim.next_task()
    assert [0.0, 7.5] == spread.requested_after_s


def test_spread_claims_after_presence_returns() -> None:
    spread = SpreadClaim(
        json_response(claimed_task()), is_present=lambda: spread.clock.boottime() >= spread.started_at + 3.0
    )
    assert claimed_task() == spread.claim.next_task()
    assert [3.0 + 5.0] == spread.requested_after_s


def test_spread_retries_keep_timeout() -> None:
    spread = SpreadClaim(unreachable(), json_response(claimed_task()))
    assert spread.claim.next_task(timeout_s=4.0) is None
    assert 4.0 == spread.clock.boottime() - spread.started_at
