"""Runs a child process of `greenroom up` and restarts it whenever it exits.

Options: `child_restart_delay_s_min` and `child_restart_delay_s_max` bound the delay before a restart. It doubles
with each exit, and starts over after a run of at least `HEALTHY_S`.

Limits: only an exit is noticed. A child that hangs is not restarted.
"""

import logging
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from greenroom.clock import Clock
from greenroom.domain.limits import Limits
from greenroom.loop import Loop
from greenroom.process.process_group import signal_name

log = logging.getLogger("greenroom.cli.child_process")

HEALTHY_S = 10.0
"""Seconds after which a run counts as healthy: the next restart uses the shortest delay."""

Report = Callable[[str], None]


class ChildProcess:
    """Runs a command on a thread of its own until it is stopped. `command` is called before each start.

    The process gets its own session, so that Ctrl-C reaches only the parent, which stops its children in order. It
    inherits the descriptor `inherited_fd`, and notices by its end that the parent has exited.

    An exit code of `permanent_codes` before any other exit cannot be fixed by a restart: `on_permanent_failure` is
    called with it, and the child is not restarted. An exit code of `final_codes` is intended: the child is not
    restarted, and the text for that code is printed, which gives the reason and how to start it again.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        environ: Mapping[str, str],
        inherited_fd: int,
        limits: Limits,
        clock: Clock,
        report: Report,
        on_permanent_failure: Callable[[int], None],
        permanent_codes: frozenset[int],
        on_start: Callable[[], None] = lambda: None,
        final_codes: Mapping[int, str] = {},
    ) -> None:
        self.name = name
        self._command = command
        self._environ = dict(environ)
        self._inherited_fd = inherited_fd
        self._limits = limits
        self._clock = clock
        self._report = report
        self._on_permanent_failure = on_permanent_failure
        self._on_start = on_start
        self._permanent_codes = permanent_codes
        self._final_codes = final_codes
        self._delay_s = limits.child_restart_delay_s_min
        self._process: subprocess.Popen[bytes] | None = None
        self._has_tried = threading.Event()
        self._lock = threading.Lock()
        self._loop = Loop(name, self._run_once, limits.child_restart_delay_s_max, clock, log)

    @property
    def pid(self) -> int | None:
        """The id of the present or last process; None before the first start."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process, and return once the first attempt to start it was made."""
        self._loop.start()
        self._has_tried.wait()

    def stop(self, timeout_s: float) -> None:
        """Stop the process: SIGTERM, then SIGKILL after `timeout_s`. Does nothing if it does not run."""
        with self._lock:
            self._loop.stop()
            process = self._process
            if process is not None and process.poll() is None:
                process.terminate()
        if process is not None:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._report(f"{self.name} did not exit within {timeout_s:g} s: it is killed")
                process.kill()
                process.wait()
        self._loop.stop(timeout_s=None)

    def _run_once(self) -> float | None:
        """Run the child until it exits; the seconds until its restart, or None if it is not restarted."""
        try:
            process = self._spawn()
        except OSError as error:
            delay_s = self._limits.child_restart_delay_s_max
            self._report(f"{self.name} cannot be started: {error}; retrying in {delay_s:g} s")
            return delay_s
        finally:
            self._has_tried.set()
        if process is None:
            return None
        started_at = self._clock.monotonic()
        code = process.wait()
        return self._restart_delay_after(process.pid, code, self._clock.monotonic() - started_at)

    def _restart_delay_after(self, pid: int, code: int, duration_s: float) -> float | None:
        """Report the exit of the child; the seconds until its restart, or None if it is not restarted."""
        if self._loop.is_stopping:
            return None
        if code in self._final_codes:
            self._report(f"{self.name} (process {pid}) {self._final_codes[code]}")
            return None
        if code in self._permanent_codes:
            self._report(f"{self.name} cannot run: {describe_exit(code)}")
            self._on_permanent_failure(code)
            return None
        self._permanent_codes = frozenset()  # it ran once, so it can run again
        if duration_s >= HEALTHY_S:
            self._delay_s = self._limits.child_restart_delay_s_min
        delay_s, self._delay_s = self._delay_s, min(2 * self._delay_s, self._limits.child_restart_delay_s_max)
        self._report(f"{self.name} (process {pid}) exited: {describe_exit(code)}; restarting in {delay_s:g} s")
        return delay_s

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._loop.is_stopping:
                return None
            is_restart = self._process is not None
            self._process = subprocess.Popen(
                list(self._command()),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                pass_fds=[self._inherited_fd],
                start_new_session=True,
            )
        self._on_start()
        if is_restart:
            self._report(f"{self.name} restarted as process {self._process.pid}")
        return self._process


def describe_exit(code: int) -> str:
    """Describe how a process ended: its exit code, or the signal that killed it."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal_name(-code)}"
