"""The rule about threads: each class whose objects several threads use says by its base who may change them.

The event loop's thread answers heartbeats and runs the sweep. The writer's thread runs mutations, and after each commit
their callbacks and the publication of events. The reader threads run queries. All of them may read every object here;
a read that needs more than one value takes a lock, or one immutable value that has them all.

- `Locked`: any thread may change it. Each public method that changes it does so while it holds `self._lock`. No
  statement of SQL, no callback and no wait runs under that lock, since heartbeats wait for it.
- `WriterOnly`: only the writer's thread changes it. It is for what follows from commits: the order of the changes is
  that of the commits, and no lock is needed. A mutation changes it by `Transaction.on_commit`, so that a mutation that
  is rolled back leaves no trace.
- `LoopOnly`: only the event loop's thread changes it. It is for what a loop keeps between its rounds. A callback of a
  future of the store may change it, since those futures are resolved on the event loop.
- `Guarded`: a part of a `Locked` object, changed only while that object's lock is held.

How to choose: `LoopOnly` or `WriterOnly` if one thread makes all changes, else `Locked`. A value that cannot change (a
frozen struct or dataclass, a tuple) needs none of them. Startup may change all objects, because no other thread uses
them yet; so may whatever runs after the event loop has ended. `tests/architecture/test_thread_rules.py` checks the
classes, and `tests/service/test_threads.py` the threads of a running server.
"""


class Locked:
    """Changed by any thread, under `self._lock`."""

    __slots__ = ()


class WriterOnly:
    """Changed by the writer's thread only."""

    __slots__ = ()


class LoopOnly:
    """Changed by the event loop's thread only."""

    __slots__ = ()


class Guarded:
    """Changed only under the lock of the `Locked` object that it is a part of."""

    __slots__ = ()
