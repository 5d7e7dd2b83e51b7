"""A text stream whose writes neither wait nor fail: a thread of its own writes a bounded queue to the descriptor.

Long-running programs use it for standard error and standard output, so that a closed terminal, a pipe that is not read
or a full disk stops none of their work.

Limits: text is dropped while the queue holds `QUEUE_BYTES_MAX`, and when it cannot be written; a line in the output
says how many lines are missing. The end of the process waits at most `EXIT_S_MAX` for what is queued.
"""

import atexit
import io
import os
import select
import signal
import threading
from collections import deque

from greenroom.cli.display_text import escape_control

QUEUE_BYTES_MAX = 1 << 20
EXIT_S_MAX = 1.0


def format_dropped(lines: int) -> bytes:
    """The line that stands for dropped lines."""
    return f"greenroom: output dropped: {lines} line{'s' if lines != 1 else ''} could not be written here\n".encode()


def count_lines(content: bytes) -> int:
    """The lines that are incomplete without `content`."""
    return max(1, content.count(b"\n"))


class BackgroundStream(io.TextIOBase):
    """Writes text as UTF-8 to a descriptor, from a thread of its own. Characters that act on a terminal are escaped.

    A line that is written in parts, as by `print`, is queued with its line break, or by `flush`. Used by any thread.
    """

    def __init__(self, descriptor: int, queue_bytes_max: int = QUEUE_BYTES_MAX) -> None:
        self._descriptor = descriptor
        self._queue_bytes_max = queue_bytes_max
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped_lines = 0
        self._is_writing = False
        self._has_ended = False
        # Reentrant: the garbage collector may run a finalizer that writes here while its thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        self._unfinished = threading.local()
        self._thread: threading.Thread | None = None
        atexit.register(self._end)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        """False also for a terminal, so that no library adds colours, which would be escaped."""
        return False

    def write(self, text: str, /) -> int:
        whole, line_break, rest = f"{getattr(self._unfinished, 'text', '')}{text}".rpartition("\n")
        self._unfinished.text = rest
        if line_break:
            self._put(f"{whole}\n")
        return len(text)

    def flush(self) -> None:
        """Queue the unfinished line of this thread. Does not wait until it is written."""
        rest = getattr(self._unfinished, "text", "")
        if rest:
            self._unfinished.text = ""
            self._put(rest)

    def close(self) -> None:
        """The descriptor stays open: it is the process's."""

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is written, at most `timeout_s`; return whether it is."""
        self.flush()
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._is_writing, timeout_s)

    def _end(self) -> None:
        """Drain at the exit of the process. Later writes are ignored: the thread may have ended with the lock held."""
        self.drain(EXIT_S_MAX)
        self._has_ended = True

    def _put(self, text: str) -> None:
        if self._has_ended:
            return
        content = escape_control(text).encode("utf-8", "backslashreplace")
        with self._changed:
            note = format_dropped(self._dropped_lines) if self._dropped_lines else b""
            if self._queued_bytes + len(note) + len(content) > self._queue_bytes_max:
                self._dropped_lines += count_lines(content)
                return
            self._dropped_lines = 0
            self._queue.append(note + content)
            self._queued_bytes += len(note) + len(content)
            self._changed.notify_all()
            if self._thread is None:
                self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._write_queue, name="output", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started now; the next write tries again
            return
        self._thread = thread

    def _write_queue(self) -> None:
        # A terminal with `stty tostop` stops a background process that writes to it, unless the signal is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        failed_lines = 0
        while True:
            content = self._take_next()
            if failed_lines and not self._write_all(format_dropped(failed_lines)):
                failed_lines = 0
            left = content if failed_lines else self._write_all(content)
            failed_lines += count_lines(left) if left else 0

    def _take_next(self) -> bytes:
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue)
            content = self._queue.popleft()
            self._queued_bytes -= len(content)
            self._is_writing = True
            return content

    def _write_all(self, content: bytes) -> bytes:
        """Write, and wait for the reader; return what could not be written."""
        while content:
            try:
                content = content[os.write(self._descriptor, content) :]
            except BlockingIOError:  # the descriptor is shared with a program that made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                break
        return content
