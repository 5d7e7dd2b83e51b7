"""How many mutations share a transaction: as many as are queued on SQLite, and no more than PostgreSQL has room for."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenroom.clock import SystemClock
from greenroom.domain.limits import Limits
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.postgres_stores import writer_pid
from tests.contract.things_table import COUNT, add_thing, tables, thing_names, writer_blocked
from tests.postgres import LENIENT_LIMITS, PostgresServer
from tests.waiting import PATIENCE_S

MUTATIONS = 200
SUBTRANSACTIONS = """
    SELECT kept.subxact_count, kept.subxact_overflowed::int
    FROM pg_stat_get_backend_idset() AS number, pg_stat_get_backend_subxact(number) AS kept
    WHERE pg_stat_get_backend_pid(number) = %s
"""


@contextmanager
def open_store(directory: Path, url: str | None, limits: Limits) -> Iterator[Store]:
    store = Store.open(directory, SystemClock(), database=url, tables=tables, limits=limits)
    try:
        yield store
    finally:
        store.close()


def write_queued(store: Store, mutations: list[Any]) -> None:
    """Queue all mutations while the writer is blocked, and wait for their results."""
    with writer_blocked(store):
        futures: list[Future[Any]] = [store.write(mutation) for mutation in mutations]
    for future in futures:
        future.result(PATIENCE_S)


def test_subtransactions_stay_in_shared_memory(url: str, postgres: PostgresServer, tmp_path: Path) -> None:
    """PostgreSQL itself is asked, at the end of each mutation, how many it holds, and whether there were too many."""
    held: list[tuple[int, int]] = []

    def add_and_look(name: str) -> Any:
        def mutation(transaction: Transaction) -> None:
            add_thing(name)(transaction)
            transaction.rows(COUNT)  # read, so that the deferred statements of all mutations have run
            held.extend(postgres.run_as_superuser(SUBTRANSACTIONS, writer_pid(store)))

        return mutation

    with open_store(tmp_path, url, LENIENT_LIMITS) as store:
        write_queued(store, [add_and_look(f"{number:03}") for number in range(MUTATIONS)])
        assert MUTATIONS == len(thing_names(store)) == len(held)
    assert {0} == {overflowed for _, overflowed in held}
    assert 50 < max(count for count, _ in held) <= 60, "a batch is as large as it may be"


def test_sqlite_batch_is_not_bounded_by_savepoints(tmp_path: Path) -> None:
    with open_store(tmp_path, None, LENIENT_LIMITS) as store:
        before = store.writer.batches
        write_queued(store, [add_thing(f"{number:03}") for number in range(MUTATIONS)])
        assert 2 == store.writer.batches - before, "the mutation that blocked the writer, and all others"
