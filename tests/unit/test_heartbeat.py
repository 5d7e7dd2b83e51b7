import signal
import threading
from typing import Any

import pytest

from greenroom.client.heartbeat import Heartbeat, Notice
from greenroom.clock import MovedClock, SystemClock
from greenroom.domain import presence as words
from greenroom.domain.errors import Conflict, RejoinRequired, Superseded
from greenroom.domain.presence import presence_of_agent
from greenroom.domain.reliability import DEFAULTS, Reliability
from greenroom.domain.sitting import SUPERSEDED
from greenroom.entropy import SeededEntropy
from greenroom.wire.replies import HeartbeatReply, JoinReply
from tests.unit.scripted import Script, beaten, joined, silence
from tests.waiting import PATIENCE_S


class Beating:
    """A heartbeat without its thread, under a moved clock."""

    def __init__(self, joins: list[Any], beats: list[Any]) -> None:
        self.clock = MovedClock()
        self.joins, self.beats = Script(*joins), Script(*beats)
        self.notices: list[Notice] = []
        self.answers: list[tuple[Any, float]] = []
        self.heartbeat = Heartbeat(
            presence_of_agent(DEFAULTS),
            self.beats,
            self.joins,
            self.notices.append,
            self.clock,
            SeededEntropy(1),
            lambda answer, sent_at: self.answers.append((answer, sent_at)),
        )

    def pass_by(self, seconds: float) -> None:
        """Move the clock in the steps in which the thread would wait."""
        ends_at = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends_at:
            wait_s = self.heartbeat.step()
            self.clock.move(min(max(wait_s, 0.001), ends_at - self.clock.monotonic()))
        while self.heartbeat.ended() is None and self.heartbeat.step() == 0.0:
            pass

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]


def test_it_joins_at_once_and_beats_when_it_is_told_to() -> None:
    beating = Beating([joined()], [beaten(), beaten()])
    beating.pass_by(24.9)
    assert ([()], []) == (beating.joins.calls, beating.beats.calls)
    assert beating.heartbeat.is_present()
    beating.pass_by(0.2)
    assert [(0.0,)] == beating.beats.calls
    assert [] == beating.notices


def test_it_keeps_a_quicker_pace_while_asked_to() -> None:
    beating = Beating([joined()], [beaten() for _ in range(20)])
    beating.pass_by(1.0)
    beating.heartbeat.keep_pace(5.0)
    beating.pass_by(20.0)
    # The next beat comes within the pace; the later ones keep the server's jitter.
    paced = len(beating.beats.calls)
    assert 4 <= paced <= 6
    beating.heartbeat.keep_pace(None)
    beating.pass_by(30.0)
    assert paced + 2 >= len(beating.beats.calls)


def test_it_never_waits_longer_than_a_step_so_that_a_wake_is_seen() -> None:
    beating = Beating([joined()], [])
    assert 0 < beating.heartbeat.step() <= DEFAULTS.wait_step_s


def test_a_removed_party_joins_again_at_once_and_says_so_once_when_it_is_made_good() -> None:
    beating = Beating([joined(), silence(), joined()], [beaten("rejoin_required"), beaten()])
    beating.pass_by(25.0)
    assert words.WARN_REJOINED not in beating.kinds()
    beating.pass_by(DEFAULTS.retry_pause_s + 0.1)
    assert 3 == len(beating.joins.calls)
    assert 1 == beating.kinds().count(words.WARN_REJOINED)
    warning = next(notice for notice in beating.notices if notice.kind == words.WARN_REJOINED)
    assert 25.0 <= warning.silent_s <= 28.0
    assert words.RENEW_CLAIM in beating.kinds()
    beating.pass_by(26.0)
    assert 1 == beating.kinds().count(words.WARN_REJOINED)


def test_a_conflict_is_a_verdict_too() -> None:
    beating = Beating([joined(), joined()], [RejoinRequired("gone", "join"), Superseded("newer", "stop")])
    beating.pass_by(25.0)
    assert 2 == len(beating.joins.calls)
    beating.pass_by(25.1)
    assert SUPERSEDED == beating.heartbeat.ended()
    assert words.STOP_SUPERSEDED == beating.kinds()[-1]


def test_a_lost_beat_drops_the_claim_at_once_and_again_when_the_line_is_back() -> None:
    beating = Beating([joined()], [silence(), silence(), beaten()])
    beating.pass_by(25.0)
    assert [words.RENEW_CLAIM] == beating.kinds()
    assert not beating.heartbeat.is_present()
    beating.pass_by(2 * DEFAULTS.retry_pause_s + 0.1)
    assert [words.RENEW_CLAIM, words.RENEW_CLAIM] == beating.kinds()
    assert beating.heartbeat.is_present()


def test_retries_are_random_within_the_pause() -> None:
    beating = Beating([silence() for _ in range(50)] + [joined()], [])
    pauses = [beating.heartbeat.step()]
    while len(beating.joins.calls) < 40:
        beating.clock.move(0.05)
        asked = len(beating.joins.calls)
        wait_s = beating.heartbeat.step()
        if len(beating.joins.calls) > asked:
            pauses.append(wait_s)
    assert all(0 <= pause <= DEFAULTS.retry_pause_s for pause in pauses)
    assert len(set(pauses)) > 10


def test_a_crowd_is_scattered_by_its_first_retry_and_stays_so() -> None:
    beating = Beating([joined(crowded=True)], [silence() for _ in range(4)])
    beating.pass_by(25.0)
    pauses = []
    while len(beating.beats.calls) < 4:
        asked = len(beating.beats.calls)
        at = beating.clock.monotonic()
        while len(beating.beats.calls) == asked:
            beating.clock.move(0.05)
            beating.heartbeat.step()
        pauses.append(beating.clock.monotonic() - at)
    longest_s = DEFAULTS.heartbeat_interval_s / 2
    assert 0 <= pauses[0] < longest_s
    assert all(pause == pytest.approx(longest_s, abs=0.1) for pause in pauses[1:])


def test_a_long_outage_is_one_note_and_no_warning() -> None:
    beating = Beating([joined()], [*(silence() for _ in range(400)), beaten()])
    beating.pass_by(25.0 + 200.0)
    assert 1 == beating.kinds().count(words.NOTE_UNREACHABLE)
    beating.beats.steps[:] = [beaten()]
    beating.pass_by(DEFAULTS.retry_pause_s)
    assert 1 == beating.kinds().count(words.NOTE_BACK)
    assert words.WARN_REJOINED not in beating.kinds()


def test_a_wake_beats_at_once_tells_how_long_it_slept_and_renews_the_claim() -> None:
    beating = Beating([joined()], [silence(), beaten(), beaten()])
    beating.pass_by(10.0)
    beating.clock.sleep(3600.0)
    beating.heartbeat.step()
    assert [(3600.0,)] == beating.beats.calls
    assert words.RENEW_CLAIM == beating.kinds()[0]
    beating.pass_by(DEFAULTS.retry_pause_s)
    assert [(3600.0,), (3600.0,)] == beating.beats.calls, "the lost heartbeat did not report the suspend"
    beating.pass_by(25.1)
    assert (0.0,) == beating.beats.calls[-1]


def test_a_wake_renews_the_claim_also_where_its_beat_is_answered() -> None:
    """The claim's connection may be broken although the heartbeat's is not."""
    beating = Beating([joined()], [beaten()])
    beating.pass_by(10.0)
    beating.clock.sleep(60.0)
    beating.heartbeat.step()
    assert [(60.0,)] == beating.beats.calls
    assert [words.RENEW_CLAIM] == beating.kinds()


def test_a_run_may_not_begin_on_an_answer_from_before_the_night() -> None:
    beating = Beating([joined()], [silence()])
    beating.pass_by(1.0)
    assert beating.heartbeat.may_begin()
    beating.clock.sleep(DEFAULTS.heartbeat_ttl_s)
    assert not beating.heartbeat.may_begin()


def test_what_cannot_come_right_ends_it_with_the_reason() -> None:
    taken = Conflict("The seat is taken.", "Take over.")
    beating = Beating([taken], [])
    beating.pass_by(100.0)
    assert [words.STOP_REFUSED] == beating.kinds()
    assert (words.REFUSED, taken) == (beating.heartbeat.ended(), beating.heartbeat.last_error)
    assert 1 == len(beating.joins.calls)


def test_a_verdict_that_nobody_knows_is_no_answer() -> None:
    beating = Beating([joined("weird"), joined()], [beaten("weird"), beaten()])
    beating.pass_by(DEFAULTS.retry_pause_s)
    assert beating.heartbeat.is_present()
    beating.pass_by(30.0 + DEFAULTS.retry_pause_s)
    assert 2 == len(beating.beats.calls)
    assert beating.heartbeat.ended() is None


def test_drain_is_told_and_beating_goes_on() -> None:
    beating = Beating([joined()], [beaten("drain"), beaten()])
    beating.pass_by(25.0)
    assert [words.STOP_DRAINED] == beating.kinds()
    beating.pass_by(25.1)
    assert 2 == len(beating.beats.calls)


def test_a_poke_beats_before_its_time() -> None:
    beating = Beating([joined()], [beaten()])
    beating.pass_by(1.0)
    beating.heartbeat.poke()
    beating.heartbeat.step()
    assert 1 == len(beating.beats.calls)


def test_answers_come_with_the_time_their_call_was_sent_at() -> None:
    def slowly() -> Any:
        beating.clock.move(3.0)
        return beaten()

    beating = Beating([joined()], [slowly])
    start = beating.clock.boottime()
    beating.pass_by(25.0)
    assert [start, start + 25.0] == [sent_at for _, sent_at in beating.answers]


def test_neither_a_join_that_is_told_to_join_nor_a_beat_that_is_told_to_beat_spins() -> None:
    beating = Beating([joined("rejoin_required") for _ in range(1000)], [])
    beating.pass_by(20.0)
    assert len(beating.joins.calls) <= 20.0 / DEFAULTS.retry_pause_s + 2
    hurried = Beating([joined(next_in_s=0.0)], [beaten(next_in_s=-1.0) for _ in range(1000)])
    hurried.pass_by(30.0)
    assert len(hurried.beats.calls) <= 21


def test_a_stopped_heartbeat_tells_nothing_any_more() -> None:
    def stopped_meanwhile() -> Any:
        beating.heartbeat.stop()
        return beaten("superseded")

    beating = Beating([joined()], [stopped_meanwhile])
    beating.pass_by(25.1)
    assert [] == beating.notices


def test_it_beats_on_while_its_party_is_busy() -> None:
    limits = Reliability(heartbeat_interval_s=0.04, heartbeat_ttl_s=0.12, sweep_interval_s=0.02)
    beats: list[float] = []

    def beat(slept_s: float) -> HeartbeatReply:
        beats.append(slept_s)
        return beaten(next_in_s=0.02)

    heart = Heartbeat(
        presence_of_agent(limits), beat, lambda: joined(next_in_s=0.02), lambda notice: None, SystemClock(),
        SeededEntropy(1),
    )  # fmt: skip
    heart.start()
    while len(beats) < 5:
        sum(range(1000))  # This thread never waits, so a heartbeat on it could not run.
    heart.stop(PATIENCE_S)
    assert not heart._thread.is_alive()


def test_signals_are_left_to_the_main_thread() -> None:
    blocked: list[set[int]] = []
    told = threading.Event()

    def join() -> JoinReply:
        blocked.append({int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())})
        told.set()
        return joined()

    heart = Heartbeat(
        presence_of_agent(DEFAULTS),
        lambda slept_s: beaten(),
        join,
        lambda notice: None,
        SystemClock(),
        SeededEntropy(1),
        deaf_to=(signal.SIGINT, signal.SIGTERM),
    )
    heart.start()
    assert told.wait(PATIENCE_S)
    heart.stop(PATIENCE_S)
    assert [{signal.SIGINT, signal.SIGTERM}] == blocked
