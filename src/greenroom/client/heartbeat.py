"""The heartbeat loop of an agent or a daemon: it joins, beats, rejoins and reports what changed.

`domain.heartbeat_policy` decides what is due; this loop does it, on its own thread. It has its own connection, so that
no other call of its client can delay a beat.

Options: those of `domain.heartbeat_policy`, and `wait_step_s`. Limits: sleep is noticed at the next step, at most
`step_s` later.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from greenroom.clock import Clock
from greenroom.domain.errors import GreenroomError, RejoinRequired, Superseded, Unavailable
from greenroom.domain.heartbeat_policy import JOIN, HeartbeatPolicy
from greenroom.domain.participant import OK, REJOIN_REQUIRED, SUPERSEDED, VERDICTS
from greenroom.entropy import Entropy
from greenroom.loop import Loop, LoopLog

SLEPT_S_MIN = 1.0
"""Two clocks that are read one after the other differ a little; only more than this is a sleep."""


class BeatAnswer(Protocol):
    """The answer to a join or a beat: a verdict, when to beat next, and whether many other clients beat."""

    @property
    def status(self) -> str: ...

    @property
    def next_in_s(self) -> float: ...

    @property
    def spread_retries(self) -> bool: ...


class HeartbeatNotice(NamedTuple):
    """For the client: one of the notices of `domain.heartbeat_policy`, and the seconds of silence before it."""

    kind: str
    silent_s: float


class Heartbeat:
    """Joins, beats and rejoins. `send_beat` is given the seconds slept since the last beat that was answered.

    `on_notice` is called with each notice; `on_answer` with each answer of `ok` or `drain` and the boot-time second at
    which its call was sent. Both run on this thread and must be short.

    `log` gets the log lines of the loop, if there is one.

    The signals of `blocked_signals` are blocked on this thread: otherwise the kernel could deliver them here, where
    they do not interrupt the call that the main thread waits in. A client that starts processes on this thread must
    leave it empty: they would inherit the blocked signals.
    """

    def __init__(
        self,
        policy: HeartbeatPolicy,
        send_beat: Callable[[float], BeatAnswer],
        send_join: Callable[[], BeatAnswer],
        on_notice: Callable[[HeartbeatNotice], None],
        clock: Clock,
        entropy: Entropy,
        on_answer: Callable[[Any, float], None] | None = None,
        step_s: float = 1.0,
        blocked_signals: Sequence[signal.Signals] = (),
        log: LoopLog | None = None,
    ) -> None:
        self.last_error: GreenroomError | None = None
        self._policy = policy
        self._send_beat = send_beat
        self._send_join = send_join
        self._on_notice = on_notice
        self._on_answer = on_answer or (lambda answer, sent_at: None)
        self._clock = clock
        self._entropy = entropy
        self._step_s = step_s
        self._blocked_signals = blocked_signals
        self._lock = threading.Lock()
        self._slept_s = 0.0
        self._clocks_apart_s = clock.boottime() - clock.monotonic()
        self._loop = Loop("heartbeat", self._tick, step_s, clock, log, on_failure=self._fail)

    def start(self) -> None:
        blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked_signals)
        try:
            self._loop.start()  # its thread inherits the blocked signals
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)

    def stop(self, timeout_s: float = 0.0) -> bool:
        """Beat no more. Waits at most `timeout_s` for a call in flight, whose answer is ignored; True if none is."""
        return self._loop.stop(timeout_s)

    def beat_now(self) -> None:
        """Beat at once: another call has shown that the server may have removed this client."""
        with self._lock:
            self._policy.beat_now(self._clock.boottime())
        self._loop.wake()

    def set_pace(self, pace_s: float | None) -> None:
        """Beat about every `pace_s` seconds from now on, so as to learn of changes sooner; None ends that."""
        with self._lock:
            self._policy.set_pace(self._clock.boottime(), pace_s)
        self._loop.wake()

    def is_present(self) -> bool:
        """Return whether the last call was answered, with `ok` or `drain`."""
        with self._lock:
            return self._policy.is_present()

    def spread_retries(self) -> bool:
        """Return whether the server has reported many beating clients."""
        with self._lock:
            return self._policy.spread_retries

    def may_start_run(self) -> bool:
        """Return whether a run may begin: only on an `ok` younger than the TTL."""
        with self._lock:
            return self._policy.may_start_run(self._clock.boottime())

    def end_reason(self) -> str | None:
        """Return why there are no more beats: `superseded`, or `refused` (see `last_error`); None if there are."""
        with self._lock:
            return self._policy.end_reason

    def step(self) -> float:
        """Do what is due; return the seconds until the next step."""
        self._notice_sleep()
        with self._lock:
            sent_at = self._clock.boottime()
            is_due, call = self._policy.is_due(sent_at), self._policy.next_call
        if is_due:
            self._send(call, sent_at)
        with self._lock:
            return self._policy.wait_s(self._clock.boottime(), self._step_s)

    def _send(self, call: str, sent_at: float) -> None:
        slept_s = self._slept_s
        try:
            answer = check_verdict(self._send_join() if call == JOIN else self._send_beat(slept_s))
        except Unavailable as error:
            self.last_error = error
            self._apply(sent_at, lambda now: self._policy.record_failure(now, self._entropy.fraction()))
        except (Superseded, RejoinRequired) as error:
            self.last_error = error
            verdict = SUPERSEDED if isinstance(error, Superseded) else REJOIN_REQUIRED
            self._apply(sent_at, lambda now: self._policy.record_answer(sent_at, verdict, 0.0, now))
        except GreenroomError as error:
            self.last_error = error
            self._apply(sent_at, lambda now: self._policy.record_refusal())
        else:
            if call != JOIN and answer.status == OK:
                self._slept_s -= slept_s
            self._policy.spread_retries = answer.spread_retries
            self._apply(sent_at, lambda now: self._policy.record_answer(sent_at, answer.status, answer.next_in_s, now))
            if not self._loop.is_stopping and answer.status not in (SUPERSEDED, REJOIN_REQUIRED):
                self._on_answer(answer, sent_at)

    def _apply(self, sent_at: float, transition: Callable[[float], list[str]]) -> None:
        with self._lock:
            silent_s = self._policy.silent_s(sent_at)
            kinds = transition(self._clock.boottime())
        self._notify(kinds, silent_s)

    def _notice_sleep(self) -> None:
        apart_s = self._clock.boottime() - self._clock.monotonic()
        slept_s, self._clocks_apart_s = apart_s - self._clocks_apart_s, apart_s
        if slept_s > SLEPT_S_MIN:
            self._slept_s += slept_s
            with self._lock:
                now = self._clock.boottime()
                kinds, silent_s = self._policy.record_wake(now), self._policy.silent_s(now)
            self._notify(kinds, silent_s)

    def _notify(self, kinds: list[str], silent_s: float) -> None:
        for kind in kinds:
            if not self._loop.is_stopping:
                self._on_notice(HeartbeatNotice(kind, silent_s))

    def _tick(self) -> float | None:
        wait_s = self.step()
        return wait_s if self.end_reason() is None else None

    def _fail(self) -> None:
        """End the presence: if a defect ends the loop, its client must not go on as if it were present."""
        self.last_error = GreenroomError("The heartbeat stopped by a defect of Greenroom.", "Report it as a bug.")
        with self._lock:
            kinds = self._policy.record_refusal()
        self._notify(kinds, 0.0)


def check_verdict(answer: BeatAnswer) -> BeatAnswer:
    """Return the answer if its verdict is a known one; raise Unavailable otherwise, as if no answer had come."""
    if answer.status not in VERDICTS:
        raise Unavailable(
            f"Unknown verdict of the server: {answer.status!r}.",
            "Check that GREENROOM_URL names a Greenroom server of this version.",
            "unreachable",
        )
    return answer
