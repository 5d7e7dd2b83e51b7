"""`BackgroundStream`: its writes neither wait nor fail, and it says how many lines are missing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from greenroom.cli.background_stream import BackgroundStream
from tests.waiting import PATIENCE_S, wait_until

PROGRAM = """
import os, sys
from greenroom.cli.background_stream import BackgroundStream

sys.stderr = BackgroundStream(2)
print("last words", file=sys.stderr)
raise SystemExit(3)
"""


class OutputPipe:
    """A pipe, and a stream that writes to it."""

    def __init__(self, queue_bytes_max: int = 1000) -> None:
        self.reading, self.writing = os.pipe()
        self.stream = BackgroundStream(self.writing, queue_bytes_max)

    def fill(self) -> int:
        """Fill the pipe; return with how many bytes."""
        count = 0
        os.set_blocking(self.writing, False)
        try:
            while True:
                count += os.write(self.writing, b"." * 512)
        except BlockingIOError:
            os.set_blocking(self.writing, True)
        return count

    def read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            content += os.read(self.reading, count - len(content))
        return content

    def read_until(self, end: bytes) -> str:
        content = b""
        while not content.endswith(end):
            content += os.read(self.reading, 4096)
        return content.decode()


@pytest.fixture
def pipe() -> Iterator[OutputPipe]:
    pipe = OutputPipe()
    yield pipe
    os.close(pipe.reading)
    pipe.stream.drain(PATIENCE_S)
    os.close(pipe.writing)


def test_lines_are_written_in_order(pipe: OutputPipe) -> None:
    for number in range(3):
        print("line", number, file=pipe.stream)
    print("unfinished", end="", file=pipe.stream, flush=True)
    assert "line 0\nline 1\nline 2\nunfinished" == pipe.read_until(b"unfinished")


def test_lines_of_threads_are_not_mixed(pipe: OutputPipe) -> None:
    pipe.stream.write("begun, ")
    other = threading.Thread(target=lambda: print("another line", file=pipe.stream))
    other.start()
    other.join()
    pipe.stream.write("ended\n")
    assert "another line\nbegun, ended\n" == pipe.read_until(b"ended\n")


def test_full_pipe_drops_and_counts_lines(pipe: OutputPipe) -> None:
    filled = pipe.fill()
    for number in range(200):
        print(f"line {number}", file=pipe.stream)  # would wait for ever
    assert not pipe.stream.drain(0.0)
    pipe.read(filled)
    assert pipe.stream.drain(PATIENCE_S)
    print("the reader is back", file=pipe.stream)
    lines = pipe.read_until(b"back\n").splitlines()
    count = len(lines) - 2
    assert 50 < count < 200
    assert [f"line {number}" for number in range(count)] == lines[:count]
    assert f"greenroom: output dropped: {200 - count} lines could not be written here" == lines[count]


def test_failed_write_is_dropped_and_counted(pipe: OutputPipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write, errors = os.write, [errno.ENOSPC, errno.EIO]

    def fail(descriptor: int, content: bytes) -> int:
        if descriptor == pipe.writing and errors:
            raise OSError(errors.pop(0), "it failed")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", fail)
    print("lost", file=pipe.stream)
    assert pipe.stream.drain(PATIENCE_S)
    print("also lost", file=pipe.stream)  # the note about the first one fails too
    assert pipe.stream.drain(PATIENCE_S)
    print("written", file=pipe.stream)
    assert "greenroom: output dropped: 2 lines could not be written here\nwritten\n" == pipe.read_until(b"written\n")


def test_shared_nonblocking_pipe_is_waited_for(pipe: OutputPipe) -> None:
    filled = pipe.fill()
    os.set_blocking(pipe.writing, False)
    print("late", file=pipe.stream)
    pipe.read(filled)
    assert "late\n" == pipe.read_until(b"\n")


def test_acting_characters_are_escaped(pipe: OutputPipe) -> None:
    print("red \x1b[31m, \u202egnp.exe, \udcff", file=pipe.stream)
    assert "red \\x1b[31m, \\u202egnp.exe, \\udcff\n" == pipe.read_until(b"\n")


def test_output_is_written_before_the_exit() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=PATIENCE_S, check=False)
    assert (3, b"last words\n") == (done.returncode, done.stderr)


def test_exit_does_not_wait_for_a_reader() -> None:
    pipe = OutputPipe()
    pipe.fill()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=pipe.writing)
    assert 3 == wait_until(process.poll, "the process exits although nothing reads its last words")
    os.close(pipe.reading)
    os.close(pipe.writing)
