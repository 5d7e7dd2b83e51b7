"""Runs a real server in this process: its own event loop, HTTP on a free port of 127.0.0.1, and a store in memory.

The clock is the test's: leases, retention and all other durations of the server pass when `advance` is called, and only
then. So does the sweep, which makes each run the same.

Limits: what a client waits for passes in real time (the wait of a claim, its timeouts, the pauses between retries).
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Final

import uvloop

from greenroom.client.api_client import ApiClient
from greenroom.domain.limits import Limits
from greenroom.server.allowed_hosts import AllowedHosts
from greenroom.server.asgi_app import App
from greenroom.server.context import ServerContext
from greenroom.server.listener import HttpServer, listen, url_of
from greenroom.service.startup import start_context
from greenroom.store.store import Store
from greenroom.testing.clock import MovedClock
from greenroom.testing.entropy import SeededEntropy

LOOPBACK: Final = "127.0.0.1"


class SteppedApp:
    """The server's application under a moved clock, with background loops that run only as the clock is stepped.

    Create it on the event loop that serves it. `token` is the operator's.
    """

    def __init__(self, store: Store, clock: MovedClock, limits: Limits, hosts: AllowedHosts, seed: int) -> None:
        self.clock: Final = clock
        self.limits: Final = limits
        self.service_context: Final = start_context(store, clock, SeededEntropy(seed), limits)
        self.token: Final = self.service_context.tokens.make_operator_token()
        self.context: Final = ServerContext(self.service_context)
        self.app: Final = App(self.context, hosts)

    def split_into_steps(self, seconds: float) -> Iterator[float]:
        """Yield the lengths of the steps in which `seconds` pass: the sweep comes after each, and so is never late."""
        while seconds > 0:
            yield min(self.limits.sweep_interval_s, seconds)
            seconds -= self.limits.sweep_interval_s

    async def step(self, seconds: float) -> None:
        """Advance the clock by at most a sweep interval, then run a round of each loop."""
        self.clock.advance(seconds)
        await self.tick()

    async def tick(self) -> None:
        """Run a round of each background loop."""
        while self.context.background.sweep.run_round() == 0:
            pass
        self.context.background.feed.run_round()


class InMemoryServer:
    """A server that runs; `server` starts one.

    `url` is its address, `token` the operator's token, `limits` the durations and limits that it was started with.
    `clock` is the clock that it reads: `advance` of the server lets time pass; to move the clock itself, without a
    sweep, simulates that the server did not run meanwhile.
    """

    def __init__(
        self, url: str, loop: asyncio.AbstractEventLoop, app: SteppedApp, request_stop: Callable[[], None]
    ) -> None:
        self.url: Final = url
        self.token: Final = app.token
        self.clock: Final = app.clock
        self.limits: Final = app.limits
        self._loop = loop
        self._app = app
        self._request_stop = request_stop
        self._clients: list[ApiClient] = []

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the server's clock, with a sweep after each sweep interval, as in real time."""
        for step_s in self._app.split_into_steps(seconds):
            asyncio.run_coroutine_threadsafe(self._app.step(step_s), self._loop).result()

    def client(self, token: str | None = None) -> ApiClient:
        """Return a new client of this server, with the operator's token unless another is given.

        Each thread needs its own. They are closed when the server stops.
        """
        self._clients.append(ApiClient(self.url, token or self.token, self.limits))
        return self._clients[-1]

    def stop(self) -> None:
        """Close the clients, and ask the server to stop, as the end of the `with` block does."""
        for client in self._clients:
            client.close()
        self._loop.call_soon_threadsafe(self._request_stop)


@contextmanager
def server(limits: Limits | None = None, *, clock: MovedClock | None = None, seed: int = 0) -> Iterator[InMemoryServer]:
    """Run a server for the time of the `with` block. Its store begins empty, and is discarded at the end.

    `limits` are its durations and limits, by default the product's own. With the same `seed` it makes the same ids and
    tokens. Raises ConfigurationError if no port of the loopback address can be opened.
    """
    started: Future[InMemoryServer] = Future()
    thread = threading.Thread(
        target=run_until_stopped, args=(limits or Limits(), clock or MovedClock(), seed, started), name="test server"
    )
    thread.start()
    running = started.result()
    try:
        yield running
    finally:
        running.stop()
        thread.join()


def run_until_stopped(limits: Limits, clock: MovedClock, seed: int, started: "Future[InMemoryServer]") -> None:
    """Run a server on this thread; `started` gets it once it accepts connections, or the error of its start."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(limits, clock, seed, started))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def serve(limits: Limits, clock: MovedClock, seed: int, started: "Future[InMemoryServer]") -> None:
    with closing(Store.open_memory(clock, limits=limits)) as store, closing(listen(LOOPBACK, 0)) as listener:
        hosts = AllowedHosts(LOOPBACK, listener.getsockname()[1])
        app = SteppedApp(store, clock, limits, hosts, seed)
        http_server = HttpServer(app.app, limits, app.context.closing, lambda: started.set_result(running))
        running = InMemoryServer(url_of(listener), asyncio.get_running_loop(), app, http_server.stop)
        with closing(app.context):
            await http_server.serve(sockets=[listener])
