"""What all tests share: Hypothesis settings, signal handlers and one PostgreSQL for the tests that request it."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Server, place_of

# A deadline per example, or the health check for slow generation, would measure the machine.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# In CI the same commit generates the same examples.
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP ignored. Processes that tests start would
# inherit that and ignore these signals; a handler is not inherited, so they start with the default action.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The PostgreSQL of this test run, which all its worker processes share."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    server = Server(place_of(run))
    yield server
    server.close()
