import signal
import threading
from typing import Any

import pytest

from greenroom.client.heartbeat import Heartbeat, HeartbeatNotice
from greenroom.clock import SystemClock
from greenroom.domain import heartbeat_policy as words
from greenroom.domain.errors import Conflict, RejoinRequired, Superseded
from greenroom.domain.heartbeat_policy import agent_heartbeat_policy
from greenroom.domain.limits import DEFAULT_LIMITS, Limits
from greenroom.domain.participant import SUPERSEDED
from greenroom.testing import MovedClock, SeededEntropy
from greenroom.wire.replies import HeartbeatReply, JoinReply
from tests.unit.scripted_transport import ScriptedFunction, heartbeat_reply, join_reply, unreachable
from tests.waiting import PATIENCE_S


class ManualHeartbeat:
    """A heartbeat without its thread, under a moved clock."""

    def __init__(self, joins: list[Any], beats: list[Any]) -> None:
        self.clock = MovedClock()
        self.joins, self.beats = ScriptedFunction(*joins), ScriptedFunction(*beats)
        self.notices: list[HeartbeatNotice] = []
        self.answers: list[tuple[Any, float]] = []
        self.heartbeat = Heartbeat(
            agent_heartbeat_policy(DEFAULT_LIMITS),
            self.beats,
            self.joins,
            self.notices.append,
            self.clock,
            SeededEntropy(1),
            lambda answer, sent_at: self.answers.append((answer, sent_at)),
        )

    def move_clock(self, seconds: float) -> None:
        """Move the clock in the steps in which the thread would wait."""
        ends_at = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends_at:
            wait_s = self.heartbeat.step()
            self.clock.advance(min(max(wait_s, 0.001), ends_at - self.clock.monotonic()))
        while self.heartbeat.end_reason() is None and self.heartbeat.step() == 0.0:
            pass

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]


def test_join_then_beat_at_interval() -> None:
    manual = ManualHeartbeat([join_reply()], [heartbeat_reply(), heartbeat_reply()])
    manual.move_clock(24.9)
    assert ([()], []) == (manual.joins.calls, manual.beats.calls)
    assert manual.heartbeat.is_present()
    manual.move_clock(0.2)
    assert [(0.0,)] == manual.beats.calls
    assert [] == manual.notices


def test_faster_pace_while_set() -> None:
    manual = ManualHeartbeat([join_reply()], [heartbeat_reply() for _ in range(20)])
    manual.move_clock(1.0)
    manual.heartbeat.set_pace(5.0)
    manual.move_clock(20.0)
    # The next beat comes within the pace; the later ones keep the server's jitter.
    paced = len(manual.beats.calls)
    assert 4 <= paced <= 6
    manual.heartbeat.set_pace(None)
    manual.move_clock(30.0)
    assert paced + 2 >= len(manual.beats.calls)


def test_wait_is_at_most_one_step() -> None:
    manual = ManualHeartbeat([join_reply()], [])
    assert 0 < manual.heartbeat.step() <= DEFAULT_LIMITS.wait_step_s


def test_rejoin_is_immediate_and_warned_once() -> None:
    manual = ManualHeartbeat(
        [join_reply(), unreachable(), join_reply()], [heartbeat_reply("rejoin_required"), heartbeat_reply()]
    )
    manual.move_clock(25.0)
    assert words.NOTICE_REJOINED not in manual.kinds()
    manual.move_clock(DEFAULT_LIMITS.retry_pause_s + 0.1)
    assert 3 == len(manual.joins.calls)
    assert 1 == manual.kinds().count(words.NOTICE_REJOINED)
    warning = next(notice for notice in manual.notices if notice.kind == words.NOTICE_REJOINED)
    assert 25.0 <= warning.silent_s <= 28.0
    assert words.RENEW_CLAIM in manual.kinds()
    manual.move_clock(26.0)
    assert 1 == manual.kinds().count(words.NOTICE_REJOINED)


def test_conflict_error_is_verdict() -> None:
    manual = ManualHeartbeat(
        [join_reply(), join_reply()], [RejoinRequired("gone", "join"), Superseded("newer", "stop")]
    )
    manual.move_clock(25.0)
    assert 2 == len(manual.joins.calls)
    manual.move_clock(25.1)
    assert SUPERSEDED == manual.heartbeat.end_reason()
    assert words.STOP_SUPERSEDED == manual.kinds()[-1]


def test_lost_beat_renews_claim() -> None:
    manual = ManualHeartbeat([join_reply()], [unreachable(), unreachable(), heartbeat_reply()])
    manual.move_clock(25.0)
    assert [words.RENEW_CLAIM] == manual.kinds()
    assert not manual.heartbeat.is_present()
    manual.move_clock(2 * DEFAULT_LIMITS.retry_pause_s + 0.1)
    assert [words.RENEW_CLAIM, words.RENEW_CLAIM] == manual.kinds()
    assert manual.heartbeat.is_present()


def test_retry_delays_are_random() -> None:
    manual = ManualHeartbeat([unreachable() for _ in range(50)] + [join_reply()], [])
    pauses = [manual.heartbeat.step()]
    while len(manual.joins.calls) < 40:
        manual.clock.advance(0.05)
        joins_before = len(manual.joins.calls)
        wait_s = manual.heartbeat.step()
        if len(manual.joins.calls) > joins_before:
            pauses.append(wait_s)
    assert all(0 <= pause <= DEFAULT_LIMITS.retry_pause_s for pause in pauses)
    assert len(set(pauses)) > 10


def test_spread_retries_delays() -> None:
    manual = ManualHeartbeat([join_reply(spread_retries=True)], [unreachable() for _ in range(4)])
    manual.move_clock(25.0)
    pauses = []
    while len(manual.beats.calls) < 4:
        beats_before = len(manual.beats.calls)
        started_at = manual.clock.monotonic()
        while len(manual.beats.calls) == beats_before:
            manual.clock.advance(0.05)
            manual.heartbeat.step()
        pauses.append(manual.clock.monotonic() - started_at)
    longest_s = DEFAULT_LIMITS.heartbeat_interval_s / 2
    assert 0 <= pauses[0] < longest_s
    assert all(pause == pytest.approx(longest_s, abs=0.1) for pause in pauses[1:])


def test_long_outage_is_one_notice() -> None:
    manual = ManualHeartbeat([join_reply()], [*(unreachable() for _ in range(400)), heartbeat_reply()])
    manual.move_clock(25.0 + 200.0)
    assert 1 == manual.kinds().count(words.NOTICE_UNREACHABLE)
    manual.beats.steps[:] = [heartbeat_reply()]
    manual.move_clock(DEFAULT_LIMITS.retry_pause_s)
    assert 1 == manual.kinds().count(words.NOTICE_REACHABLE)
    assert words.NOTICE_REJOINED not in manual.kinds()


def test_wake_beats_at_once_and_renews_claim() -> None:
    manual = ManualHeartbeat([join_reply()], [unreachable(), heartbeat_reply(), heartbeat_reply()])
    manual.move_clock(10.0)
    manual.clock.sleep(3600.0)
    manual.heartbeat.step()
    assert [(3600.0,)] == manual.beats.calls
    assert words.RENEW_CLAIM == manual.kinds()[0]
    manual.move_clock(DEFAULT_LIMITS.retry_pause_s)
    assert [(3600.0,), (3600.0,)] == manual.beats.calls, "the lost heartbeat did not report the suspend"
    manual.move_clock(25.1)
    assert (0.0,) == manual.beats.calls[-1]


def test_answered_wake_beat_renews_claim() -> None:
    """The claim's connection may be broken although the heartbeat's is not."""
    manual = ManualHeartbeat([join_reply()], [heartbeat_reply()])
    manual.move_clock(10.0)
    manual.clock.sleep(60.0)
    manual.heartbeat.step()
    assert [(60.0,)] == manual.beats.calls
    assert [words.RENEW_CLAIM] == manual.kinds()


def test_no_run_starts_after_suspend() -> None:
    manual = ManualHeartbeat([join_reply()], [unreachable()])
    manual.move_clock(1.0)
    assert manual.heartbeat.may_start_run()
    manual.clock.sleep(DEFAULT_LIMITS.heartbeat_ttl_s)
    assert not manual.heartbeat.may_start_run()


def test_permanent_error_ends_heartbeat() -> None:
    error = Conflict("The role is taken.", "Take over.")
    manual = ManualHeartbeat([error], [])
    manual.move_clock(100.0)
    assert [words.STOP_REFUSED] == manual.kinds()
    assert (words.REFUSED, error) == (manual.heartbeat.end_reason(), manual.heartbeat.last_error)
    assert 1 == len(manual.joins.calls)


def test_unknown_verdict_is_retried() -> None:
    manual = ManualHeartbeat([join_reply("weird"), join_reply()], [heartbeat_reply("weird"), heartbeat_reply()])
    manual.move_clock(DEFAULT_LIMITS.retry_pause_s)
    assert manual.heartbeat.is_present()
    manual.move_clock(30.0 + DEFAULT_LIMITS.retry_pause_s)
    assert 2 == len(manual.beats.calls)
    assert manual.heartbeat.end_reason() is None


def test_drain_notice_keeps_beating() -> None:
    manual = ManualHeartbeat([join_reply()], [heartbeat_reply("drain"), heartbeat_reply()])
    manual.move_clock(25.0)
    assert [words.STOP_DRAINED] == manual.kinds()
    manual.move_clock(25.1)
    assert 2 == len(manual.beats.calls)


def test_beat_now_beats_early() -> None:
    manual = ManualHeartbeat([join_reply()], [heartbeat_reply()])
    manual.move_clock(1.0)
    manual.heartbeat.beat_now()
    manual.heartbeat.step()
    assert 1 == len(manual.beats.calls)


def test_answers_have_send_time() -> None:
    def answer_slowly() -> Any:
        manual.clock.advance(3.0)
        return heartbeat_reply()

    manual = ManualHeartbeat([join_reply()], [answer_slowly])
    start = manual.clock.boottime()
    manual.move_clock(25.0)
    assert [start, start + 25.0] == [sent_at for _, sent_at in manual.answers]


def test_repeated_verdicts_do_not_spin() -> None:
    manual = ManualHeartbeat([join_reply("rejoin_required") for _ in range(1000)], [])
    manual.move_clock(20.0)
    assert len(manual.joins.calls) <= 20.0 / DEFAULT_LIMITS.retry_pause_s + 2
    fast = ManualHeartbeat([join_reply(next_in_s=0.0)], [heartbeat_reply(next_in_s=-1.0) for _ in range(1000)])
    fast.move_clock(30.0)
    assert len(fast.beats.calls) <= 21


def test_stopped_heartbeat_sends_no_notice() -> None:
    def stop_then_answer() -> Any:
        manual.heartbeat.stop()
        return heartbeat_reply("superseded")

    manual = ManualHeartbeat([join_reply()], [stop_then_answer])
    manual.move_clock(25.1)
    assert [] == manual.notices


def test_beats_continue_while_main_thread_is_busy() -> None:
    limits = Limits(heartbeat_interval_s=0.04, heartbeat_ttl_s=0.12, sweep_interval_s=0.02)
    beats: list[float] = []

    def beat(slept_s: float) -> HeartbeatReply:
        beats.append(slept_s)
        return heartbeat_reply(next_in_s=0.02)

    heartbeat = Heartbeat(
        agent_heartbeat_policy(limits), beat, lambda: join_reply(next_in_s=0.02), lambda notice: None, SystemClock(),
        SeededEntropy(1),
    )  # fmt: skip
    heartbeat.start()
    while len(beats) < 5:
        sum(range(1000))  # This thread never waits, so a heartbeat on it could not run.
    assert heartbeat.stop(PATIENCE_S), "its thread did not end"


def test_signals_are_blocked_on_thread() -> None:
    blocked: list[set[int]] = []
    has_joined = threading.Event()

    def join() -> JoinReply:
        blocked.append({int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())})
        has_joined.set()
        return join_reply()

    heartbeat = Heartbeat(
        agent_heartbeat_policy(DEFAULT_LIMITS),
        lambda slept_s: heartbeat_reply(),
        join,
        lambda notice: None,
        SystemClock(),
        SeededEntropy(1),
        blocked_signals=(signal.SIGINT, signal.SIGTERM),
    )
    heartbeat.start()
    assert has_joined.wait(PATIENCE_S)
    heartbeat.stop(PATIENCE_S)
    assert [{signal.SIGINT, signal.SIGTERM}] == blocked
