import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.domain.errors import AlreadyRunning
from greenroom.lock import hold_lock, holder_of
from greenroom.process.ending import Ending

HOLD = """
import sys
from pathlib import Path
from greenroom.lock import hold_lock
hold_lock(Path(sys.argv[1]), "daemon").tell("http://127.0.0.1:1")
print("held", flush=True)
sys.stdin.read()
"""


def test_only_one_is_let_in_and_the_other_is_told_who(tmp_path: Path) -> None:
    path = tmp_path / "daemon.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        assert holder_of(path) == (holder.pid, "http://127.0.0.1:1")
        with pytest.raises(AlreadyRunning, match=str(holder.pid)):
            hold_lock(path, "daemon")
        holder.kill()
        holder.wait()
    assert holder_of(path) == (None, "")
    with hold_lock(path, "daemon"):  # a killed process leaves no lock behind
        assert holder_of(path)[0] == os.getpid()
    assert holder_of(path) == (None, "")


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "daemon.lock") == (None, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_is_an_end_with_its_code(number: signal.Signals, code: int) -> None:
    ending = Ending()
    before = signal.getsignal(number)
    with ending.on_signals():
        os.kill(os.getpid(), number)
        assert ending.wait() == code
    assert signal.getsignal(number) is before


def test_the_first_end_that_is_told_counts() -> None:
    ending = Ending()
    ending.tell(4)
    ending.tell(1)
    assert ending.wait() == 4


def test_the_end_of_who_started_us_is_ours() -> None:
    ending = Ending()
    reading, writing = os.pipe()
    os.write(writing, b"still here")
    os.close(writing)
    assert ending.wait(reading) == 0
    os.close(reading)
