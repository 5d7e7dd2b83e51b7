"""Runs each test that uses a House or an InProcessServer on both stores: in memory and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from greenroom.domain.limits import Limits
from greenroom.store.store import Store
from greenroom.store.tables import metadata
from greenroom.testing import MovedClock
from tests.postgres import make_engine
from tests.service.in_process_server import InProcessServer
from tests.service.in_process_service import InProcessService
from tests.service.store_factory import open_in_memory, store_factory

USES_STORE = (InProcessService.__name__, InProcessServer.__name__)
MEMORY_ONLY_MODULES = (
    "test_http_refusals",
    "test_http_scopes",
    "test_http_heartbeat",
    "test_http_protocol",
    "test_threads",
)
"""Hundreds of tests of what is decided before the store is reached, and those that open a store of their own."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module
    uses_store = any(hasattr(module, name) for name in USES_STORE) and not module.__name__.endswith(MEMORY_ONLY_MODULES)
    if uses_store:
        metafunc.parametrize("database", ["memory", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of database that this test's stores are opened on. The stores are closed after the test."""
    kind: str = getattr(request, "param", "memory")
    if kind == "memory":
        yield kind
        return
    server = request.getfixturevalue("postgres")
    with ExitStack() as stack:

        def open_store(clock: MovedClock, limits: Limits) -> Store:
            url = stack.enter_context(server.empty_database(metadata))
            store = Store.open_without_thread(make_engine(url, clock), clock, limits=limits)
            stack.callback(store.close)
            return store

        store_factory.open = open_store
        stack.callback(setattr, store_factory, "open", open_in_memory)
        yield kind
