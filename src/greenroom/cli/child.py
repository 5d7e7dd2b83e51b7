"""One process of the house, kept alive: started again whenever it ends. Must not know what it does."""

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from greenroom.clock import Clock
from greenroom.domain.reliability import Reliability

HEALTHY_S = 10.0
"""A child that lived this long is started again without delay's growth."""

Tell = Callable[[str], None]


class Child:
    """Runs a command until it is stopped. `command` is asked anew for each start.

    It has a session of its own, so that Ctrl-C reaches only the one who stops everything in order; `inherited` is a
    descriptor by whose end it notices that we are gone. `on_hopeless` is told a code of `hopeless_at_first`, which no
    new start can mend, if it never ran otherwise. A code of `stays_down` is meant, and it is not started again; what
    is said of it there tells why, and how it comes back.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        environ: Mapping[str, str],
        inherited: int,
        limits: Reliability,
        clock: Clock,
        tell: Tell,
        on_hopeless: Callable[[int], None],
        hopeless_at_first: frozenset[int],
        stays_down: Mapping[int, str] = {},
    ) -> None:
        self.name = name
        self._command = command
        self._environ = dict(environ)
        self._inherited = inherited
        self._limits = limits
        self._clock = clock
        self._tell = tell
        self._on_hopeless = on_hopeless
        self._hopeless_at_first = hopeless_at_first
        self._stays_down = stays_down
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def pid(self) -> int | None:
        """The number of the process that runs now, or ran last."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, and end it after `timeout_s`. Stopping what does not run is success."""
        with self._lock:
            self._is_stopping.set()
            process = self._process
            if process is not None and process.poll() is None:
                process.terminate()
        if process is not None:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._tell(f"{self.name} did not end within {timeout_s:g} s and is killed")
                process.kill()
                process.wait()
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        pause_s = self._limits.house_pause_s_min
        hopeless = self._hopeless_at_first
        while not self._is_stopping.is_set():
            try:
                process = self._spawn()
            except OSError as error:
                self._tell(f"{self.name} cannot be started now ({error}); it is tried on")
                self._is_stopping.wait(self._limits.house_pause_s_max)
                continue
            if process is None:
                return
            started_at = self._clock.monotonic()
            code = process.wait()
            if self._is_stopping.is_set():
                return
            if code in self._stays_down:
                self._tell(f"{self.name} (process {process.pid}) {self._stays_down[code]}")
                return
            if code in hopeless:
                self._tell(f"{self.name} cannot run ({how(code)})")
                self._on_hopeless(code)
                return
            hopeless = frozenset()  # it could run once, so it can run again
            if self._clock.monotonic() - started_at >= HEALTHY_S:
                pause_s = self._limits.house_pause_s_min
            self._tell(f"{self.name} (process {process.pid}) ended: {how(code)}; it is started again in {pause_s:g} s")
            if self._is_stopping.wait(pause_s):
                return
            pause_s = min(2 * pause_s, self._limits.house_pause_s_max)

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._is_stopping.is_set():
                return None
            again = self._process is not None
            self._process = subprocess.Popen(
                list(self._command()),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                pass_fds=[self._inherited],
                start_new_session=True,
            )
        if again:
            self._tell(f"{self.name} runs again as process {self._process.pid}")
        return self._process


def how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
