"""What all tests share: Hypothesis settings, signal handlers and one PostgreSQL for the tests that request it."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer, server_folder

# A deadline per example, or the health check for slow generation, would measure the machine.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# In CI the same commit generates the same examples.
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP ignored. Processes that tests start would
# inherit that and ignore these signals; a handler is not inherited, so they start with the default action.
for signal_number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(signal_number) is signal.SIG_IGN:
        signal.signal(signal_number, lambda *_: None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The PostgreSQL of this test run, which all its worker processes share."""
    base_folder = tmp_path_factory.getbasetemp()
    run_folder = base_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else base_folder
    server = PostgresServer(server_folder(run_folder))
    yield server
    server.close()
