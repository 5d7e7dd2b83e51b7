"""A signal ends the process, whichever of its threads receives it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from greenroom.process.exit_signals import Shutdown
from tests.waiting import PATIENCE_S

# The main thread waits and another one gets the signal, as may happen while the process starts a command.
PROGRAM = """
import signal, sys, threading
from greenroom.process.exit_signals import Shutdown

shutdown = Shutdown()
with shutdown.handle_signals():
    waiting = threading.Event()
    def signal_thread() -> None:
        waiting.wait(0.2)
        signal.pthread_kill(threading.get_ident(), getattr(signal, sys.argv[1]))
        threading.Event().wait()
    threading.Thread(target=signal_thread, daemon=True).start()
    code = shutdown.wait()
sys.exit(code)
"""


def test_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Shutdown().handle_signals():
            assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
        assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGHUP", 0), ("SIGINT", 130)])
def test_signal_on_other_thread_ends_process(name: str, code: int) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (code, b"") == (completed.returncode, completed.stderr)
