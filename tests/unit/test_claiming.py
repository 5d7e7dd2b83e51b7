import threading
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.client.claiming import StandingClaim
from greenroom.client.session import Session
from greenroom.client.transport import Response
from greenroom.clock import MovedClock
from greenroom.domain.errors import NotFound, Superseded
from greenroom.domain.reliability import DEFAULTS
from greenroom.entropy import SeededEntropy
from tests.unit.scripted import ScriptedTransport, Step, answer, claimed, nothing, refusal, silence
from tests.waiting import PATIENCE_S


class Hurried(SeededEntropy):
    """Draws pauses of length zero, so that these tests wait for nothing."""

    def fraction(self) -> float:
        return 0.0


class MovingEvent(threading.Event):
    """An event whose `wait` moves the clock by the timeout instead of waiting."""

    def __init__(self, clock: MovedClock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.move(timeout or 0.0)
        return self.is_set()


class Waiting:
    def __init__(self, *steps: Step, is_present: Callable[[], bool] = lambda: True, hand_over: bool = False) -> None:
        self.clock = MovedClock()
        self.transport = ScriptedTransport(*steps)
        self.pokes = 0
        self.claim = StandingClaim(
            Session("http://there", "t", DEFAULTS, self.transport),
            "demo",
            "builder",
            "conn_1",
            is_present,
            self.poke,
            self.clock,
            Hurried(1),
            hand_over=hand_over,
        )

    def poke(self) -> None:
        self.pokes += 1

    def after(self, seconds: float, response: Response) -> Callable[[], Response]:
        def step() -> Response:
            self.clock.move(seconds)
            return response

        return step

    def bodies(self) -> list[Any]:
        return [body for _, _, body, _, _ in self.transport.asked]


def test_it_asks_in_slices_until_there_is_a_task() -> None:
    waiting = Waiting(nothing(), nothing(), answer(claimed()), hand_over=True)
    assert claimed() == waiting.claim.next_task()
    asked = {"role": "builder", "connection_id": "conn_1", "wait_s": 25.0, "hand_over": True}
    assert [asked] * 3 == waiting.bodies()
    method, path, _, _, timeout_s = waiting.transport.asked[0]
    assert ("POST", "/api/v1/rooms/demo/tasks/claim") == (method, path)
    assert timeout_s <= DEFAULTS.heartbeat_interval_s


def test_what_finds_no_server_is_asked_again_for_ever() -> None:
    waiting = Waiting(silence(), refusal("overloaded"), answer({"strange": 1}), answer(claimed()))
    assert claimed() == waiting.claim.next_task()


def test_a_claim_without_a_seat_pokes_the_heartbeat_and_is_sent_again() -> None:
    waiting = Waiting(refusal("rejoin_required"), answer(claimed()))
    assert claimed() == waiting.claim.next_task()
    assert 1 == waiting.pokes


@pytest.mark.parametrize(("code", "error"), [("superseded", Superseded), ("not_found", NotFound)])
def test_what_cannot_come_right_is_raised(code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Waiting(refusal(code)).claim.next_task()


def test_an_answer_that_is_as_old_as_a_lease_starts_nothing_and_is_asked_for_again() -> None:
    waiting = Waiting()

    def overnight() -> Response:
        waiting.clock.sleep(8 * 3600.0)
        return answer(claimed())

    waiting.transport.steps += [overnight, answer(claimed(attempt=2))]
    assert claimed(attempt=2) == waiting.claim.next_task()


def test_the_time_to_wait_is_spent_and_not_more() -> None:
    waiting = Waiting()
    waiting.transport.steps += [waiting.after(25.0, nothing()), waiting.after(15.0, nothing())]
    assert waiting.claim.next_task(timeout_s=40.0) is None
    assert [25.0, 15.0] == [body["wait_s"] for body in waiting.bodies()]


def test_no_time_at_all_still_asks_once() -> None:
    waiting = Waiting(answer(claimed()))
    assert claimed() == waiting.claim.next_task(timeout_s=0.0)
    assert [0.0] == [body["wait_s"] for body in waiting.bodies()]


def test_nothing_is_asked_while_the_seat_is_unsure() -> None:
    looks = iter([False, False, True])
    waiting = Waiting(answer(claimed()), is_present=lambda: next(looks))
    waiting.claim._step_s = 0.0
    assert claimed() == waiting.claim.next_task()
    assert 1 == len(waiting.transport.asked)


def test_a_renewed_claim_is_dropped_and_sent_anew() -> None:
    waiting = Waiting()

    def dropped() -> Response:
        waiting.claim.renew()
        assert 1 == waiting.transport.drops
        raise silence()

    waiting.transport.steps += [dropped, answer(claimed())]
    assert claimed() == waiting.claim.next_task()


@pytest.mark.parametrize("lost", [0, 2])
def test_an_ended_claim_is_dropped_until_it_is_out_and_not_sent_again(lost: int) -> None:
    """A drop that comes just before the claim is sent has no effect; without another the claim waits its full time."""
    waiting, is_asked, is_dropped = Waiting(), threading.Event(), threading.Event()

    class Losing(ScriptedTransport):
        def drop(self) -> None:
            super().drop()
            if self.drops > lost:
                is_dropped.set()

    def standing() -> Response:
        is_asked.set()
        assert is_dropped.wait(PATIENCE_S)
        raise silence()

    waiting.transport = Losing(standing)
    waiting.claim._session._transport = waiting.transport
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(waiting.claim.next_task()))
    asking.start()
    assert is_asked.wait(PATIENCE_S)
    waiting.claim.end()
    asking.join(PATIENCE_S)
    assert [None] == answers
    assert waiting.claim.next_task() is None
    assert 1 == len(waiting.transport.asked)
    assert lost < waiting.transport.drops


class Crowd(SeededEntropy):
    """Always draws the same fraction, so that the length of a pause is known."""

    def fraction(self) -> float:
        return 0.5


class Crowded(Waiting):
    """A claim with `spread_retries` on, whose waits move the clock. Records when it sent each request."""

    def __init__(self, *steps: Step, is_present: Callable[[], bool] = lambda: True) -> None:
        super().__init__(*(self.noting(step) for step in steps), is_present=is_present)
        self.claim._entropy = Crowd(1)
        self.claim._is_crowded = lambda: True
        self.claim._look = MovingEvent(self.clock)
        self.began_at = self.clock.boottime()
        self.asked_after_s: list[float] = []

    def noting(self, step: Step) -> Callable[[], Response]:
        def noted() -> Response:
            self.asked_after_s.append(self.clock.boottime() - self.began_at)
            given = step() if callable(step) else step
            if isinstance(given, BaseException):
                raise given
            return given

        return noted


def test_in_a_crowd_the_first_retry_is_random_and_the_later_ones_keep_their_distance() -> None:
    crowded = Crowded(silence(), silence(), silence(), answer(claimed()))
    assert claimed() == crowded.claim.next_task()
    assert [0.0, 7.5, 22.5, 37.5] == crowded.asked_after_s


def test_in_a_crowd_a_renewed_claim_sits_its_pause_out() -> None:
    def renewed() -> Response:
        crowded.claim.renew()
        raise silence()

    crowded = Crowded(renewed, answer(claimed()))
    assert claimed() == crowded.claim.next_task()
    assert [0.0, 7.5] == crowded.asked_after_s


def test_in_a_crowd_not_all_agents_of_a_machine_ask_when_its_seat_is_sure_again() -> None:
    crowded = Crowded(answer(claimed()), is_present=lambda: crowded.clock.boottime() >= crowded.began_at + 3.0)
    assert claimed() == crowded.claim.next_task()
    assert [3.0 + 5.0] == crowded.asked_after_s


def test_in_a_crowd_too_the_time_to_wait_is_not_overspent() -> None:
    crowded = Crowded(silence(), answer(claimed()))
    assert crowded.claim.next_task(timeout_s=4.0) is None
    assert 4.0 == crowded.clock.boottime() - crowded.began_at
