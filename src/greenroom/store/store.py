"""Opens, reads, writes and closes the store: an engine, the writer and the lock on the data directory.

Options: `writer_queue_max`, `writer_batch_max`, `readers_max`, `request_timeout_s`, `database_timeout_s` of the limits.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import MetaData

from greenroom.clock import Clock
from greenroom.domain.errors import AlreadyRunning, ConfigurationError, StoreUnavailable
from greenroom.domain.event import Event
from greenroom.domain.limits import DEFAULT_LIMITS, Limits
from greenroom.file_lock import FileLock, acquire_lock
from greenroom.store.engine import Engine
from greenroom.store.group_commit import Mutation
from greenroom.store.sqlite import SqliteFileEngine, SqliteMemoryEngine
from greenroom.store.tables import metadata
from greenroom.store.transaction import Reader
from greenroom.store.writer import Deliver, Publish, Writer, resolve_all

T = TypeVar("T")
Wait = Callable[[StoreUnavailable, FileLock], None]
"""Called when a store that is being opened is unavailable, with its lock: returns when to try again, or raises."""

DATABASE_NAME: Final = "greenroom.db"
LOCK_NAME: Final = "server.lock"
CLOSE_TIMEOUT_S: Final = 30.0


def discard_events(events: Sequence[Event]) -> None:
    """Discard the events."""


def refuse_to_wait(error: StoreUnavailable, lock: FileLock) -> None:
    """Raise the error."""
    raise error


class Store:
    """The durable state of one server. `write` and `run` take one mutation each; `read` takes a query."""

    def __init__(self, engine: Engine, writer: Writer, lock: FileLock | None = None) -> None:
        self.writer = writer
        self.lock = lock
        self._engine = engine

    @classmethod
    def open(
        cls,
        directory: Path,
        clock: Clock,
        *,
        database: str | None = None,
        must_exist: bool = False,
        wait: Wait = refuse_to_wait,
        limits: Limits = DEFAULT_LIMITS,
        publish: Publish = discard_events,
        deliver: Deliver = resolve_all,
        on_writer_failure: Callable[[str], None] = lambda name: None,
        tables: MetaData = metadata,
    ) -> "Store":
        """Lock a data directory, open or create the database and start the writer's thread.

        The database is a file in that directory, or the one on PostgreSQL that the URL `database` names. Raises
        AlreadyRunning when another server holds the lock, and ConfigurationError when the directory or the database
        cannot be used, or when there is no database file although it `must_exist`. While the database is unavailable,
        or its disk is full, `wait` decides: by default StoreUnavailable is raised.
        """
        if must_exist and database is None and not (directory / DATABASE_NAME).exists():
            raise ConfigurationError(
                f"The store that this server used before is gone: {directory / DATABASE_NAME}.",
                "Put the data directory back. To begin with an empty store, stop `greenroom up` and start it again.",
                "store_lost",
            )
        lock = acquire_lock(directory / LOCK_NAME, "server")
        try:
            engine = prepare_engine(lambda: open_engine(directory, database, clock, limits), tables, wait, lock)
        except BaseException:
            lock.release()
            raise
        try:
            writer = Writer(
                engine,
                clock,
                queue_max=limits.writer_queue_max,
                batch_max=limits.writer_batch_max,
                publish=publish,
                deliver=deliver,
                on_failure=on_writer_failure,
            )
            writer.start()
        except BaseException:
            engine.close()
            lock.release()
            raise
        return cls(engine, writer, lock)

    @classmethod
    def open_memory(
        cls,
        clock: Clock,
        *,
        limits: Limits = DEFAULT_LIMITS,
        publish: Publish = discard_events,
        tables: MetaData = metadata,
    ) -> "Store":
        """Open a store in memory, without a thread: `write` commits before it returns, `close` discards everything."""
        return cls.open_without_thread(SqliteMemoryEngine(), clock, limits=limits, publish=publish, tables=tables)

    @classmethod
    def open_without_thread(
        cls,
        engine: Engine,
        clock: Clock,
        *,
        limits: Limits = DEFAULT_LIMITS,
        publish: Publish = discard_events,
        tables: MetaData = metadata,
    ) -> "Store":
        """Open a store on any engine, without a thread and without a lock on a data directory."""
        try:
            engine.prepare_schema(tables)
        except BaseException:
            engine.close()
            raise
        return cls(
            engine,
            Writer(
                engine, clock, queue_max=limits.writer_queue_max, batch_max=limits.writer_batch_max, publish=publish
            ),
        )

    def write(self, mutation: Mutation[T]) -> Future[T]:
        """Queue a mutation for the next batch; its future resolves once the batch is durable.

        Raises StoreOverloaded when the queue is full and StoreUnavailable when the writer has stopped.
        """
        if self.writer.is_started:
            return self.writer.submit(mutation)
        return self.writer.run_batch([mutation])[0]

    def run(self, mutation: Mutation[T]) -> T:
        """Run and commit a mutation on the calling thread, between two batches of the writer's thread."""
        return self.writer.run(mutation)

    def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on one consistent snapshot, without waiting for the writer (in memory it takes turns with it).

        Raises StoreUnavailable when the database or its disk fails, and StoreOverloaded when no reader is free in time.
        """
        try:
            with self._engine.read_transaction() as cursor:
                reader = Reader(cursor, self._engine.dialect)
                try:
                    return query(reader)
                finally:
                    reader.close("this query has returned: its reader cannot be used any more")
        except Exception as error:
            if not self._engine.is_outage(error):
                raise
            raise StoreUnavailable(
                f"The store could not be read ({error}).",
                "Send the request again; if it keeps failing, check the server's disk (or PostgreSQL) and its log.",
            ) from error

    def set_publisher(self, publish: Publish) -> None:
        """Publish the events of all later commits through `publish`."""
        self.writer.publish = publish

    def verify_lock(self) -> None:
        """Check, without waiting, that this process still holds the store. If not, stop writing for good.

        Raises AlreadyRunning, which names the holder, when another server holds the store now. Raises StoreUnavailable
        when another server may hold it, or has written to it meanwhile: a restarted server finds out. Raises
        ConfigurationError when a file of the database was removed or replaced.
        """
        lost_files = self._engine.lost_files
        if lost_files is not None:
            self.writer.stop_accepting(lost_files)
            raise ConfigurationError(
                lost_files,
                "This server has stopped: what it wrote now would be lost. Put the files back (greenroom.db and "
                "greenroom.db-wal together), then start it again; without them it begins with an empty store.",
                "store_lost",
            )
        reason = self.writer.overtaken_by
        if self.lock is not None and not self.lock.is_held():
            reason = "The lock on the data directory was lost: its file was removed or replaced."
        if self._engine.taken_over_by is not None:
            self.writer.stop_accepting(self._engine.taken_over_by)
            raise AlreadyRunning(
                self._engine.taken_over_by,
                "This server has stopped writing. Use the other server, or stop that one and start this one again.",
            )
        if reason is not None:
            self.writer.stop_accepting(reason)
            raise StoreUnavailable(
                reason, "This server has stopped writing, in case another server writes. Start it again."
            )
        self._engine.ensure_connected()
        self.writer.resolve_doubt()

    def close(self) -> None:
        """Write all queued mutations, close every connection and release the lock."""
        self.writer.close(CLOSE_TIMEOUT_S)
        self._engine.close()
        if self.lock is not None:
            self.lock.release()


def prepare_engine(open_one: Callable[[], Engine], tables: MetaData, wait: Wait, lock: FileLock) -> Engine:
    """An engine whose database has its schema. An engine that could not be prepared is closed."""
    while True:
        engine = open_one()
        try:
            engine.prepare_schema(tables)
            return engine
        except StoreUnavailable as error:
            engine.close()
            wait(error, lock)
        except BaseException:
            engine.close()
            raise


def open_engine(directory: Path, database: str | None, clock: Clock, limits: Limits) -> Engine:
    """The engine for a URL, or for the file in a data directory. PostgreSQL's driver is imported only when used."""
    if database is None:
        return SqliteFileEngine(
            directory / DATABASE_NAME, readers_max=limits.readers_max, wait_s=limits.request_timeout_s
        )
    postgres: Any = import_module("greenroom.store.postgres.engine")
    engine: Engine = postgres.PostgresEngine(
        database,
        clock,
        readers_max=limits.readers_max,
        wait_s=limits.request_timeout_s,
        answer_timeout_s=limits.database_timeout_s,
    )
    return engine
