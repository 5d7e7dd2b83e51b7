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


class Hurried(SeededEntropy):
    """Draws no pauses: these tests wait for nothing."""

    def fraction(self) -> float:
        return 0.0


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


def test_an_ended_claim_is_dropped_and_not_sent_again() -> None:
    waiting = Waiting()

    def ended() -> Response:
        waiting.claim.end()
        raise silence()

    waiting.transport.steps += [ended]
    assert waiting.claim.next_task() is None
    assert waiting.claim.next_task() is None
    assert 1 == waiting.transport.drops
