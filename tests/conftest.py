"""What every test shares: hypothesis' settings, and a PostgreSQL for those that ask. Must not know what is tested."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Server, place_of

# A deadline, or a check that examples are not made too slowly, would measure the machine.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# In CI the same commit draws the same examples.
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# A shell has what it starts in the background ignore Ctrl-C, and nohup the end of the terminal. What tests start would
# inherit that, and pay no heed to these signals; from a process that has a handler nothing is inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one PostgreSQL of this run, which all its processes share."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    server = Server(place_of(run))
    yield server
    server.close()
