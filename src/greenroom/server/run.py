"""Starts and stops a server: creates its clock, entropy, store, signal handlers and socket, and runs the event loop."""

import asyncio
import logging
import socket
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TextIO

import uvloop

from greenroom.clock import Clock, SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.domain.limits import Limits
from greenroom.entropy import SystemEntropy
from greenroom.exit_codes import ExitCode
from greenroom.loop import freeze_garbage_collector
from greenroom.process.exit_signals import CODE_OF_SIGNAL, is_ignored
from greenroom.server.allowed_hosts import AllowedHosts
from greenroom.server.asgi_app import App
from greenroom.server.context import ServerContext
from greenroom.server.listener import HttpServer, listen, url_of, watch_descriptor
from greenroom.server.logs import log_to_stderr
from greenroom.server.settings import ServerSettings, parse_settings
from greenroom.server.store_wait import StartCancelled, StoreWait, cancelled_by_signals
from greenroom.server.wakeups import ResultDelivery
from greenroom.service.context import ServiceContext
from greenroom.service.startup import start_context
from greenroom.settings import paths
from greenroom.settings.database import check_database_url
from greenroom.settings.files import close_data_dir, write_text
from greenroom.settings.resolve import Settings
from greenroom.store.store import Store

logger = logging.getLogger("greenroom.server.run")


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Run `greenroom server` and return the exit code of its process."""
    database = settings.database
    if database is not None:
        check_database_url(database, settings.origins["database"])
    return serve(parse_settings(vars(arguments), settings.data_dir, database), settings.limits)


def serve(settings: ServerSettings, limits: Limits) -> int:
    """Run a server until it stops, and return the exit code of its process.

    It is 0 after a signal or the end of the parent process, 1 when a loop failed, and 78 when a person must mend the
    configuration or the store. While the store is unavailable, or its disk is full, the server waits.
    """
    log_to_stderr()
    clock, delivery, failures = SystemClock(), ResultDelivery(), LoopFailures()
    close_data_dir(settings.data_dir)
    try:
        with ExitStack() as stack:
            with cancelled_by_signals():
                context = open_service(settings, limits, clock, delivery, failures, stack)
                listener = stack.enter_context(closing(listen(settings.host, settings.port)))
            uvloop.run(serve_requests(context, settings, listener, delivery, failures))
    except StartCancelled:
        return ExitCode.DONE
    except ConfigurationError as error:
        print(f"greenroom server: {error}", file=sys.stderr)
        return ExitCode.CONFIGURATION
    return failures.code


def open_service(
    settings: ServerSettings,
    limits: Limits,
    clock: Clock,
    delivery: ResultDelivery,
    failures: "LoopFailures",
    stack: ExitStack,
) -> ServiceContext:
    """Open the store, start the service on it and write the operator's token, once the store allows all of that.

    Raises ConfigurationError, and StartCancelled if the server is to stop meanwhile. `stack` closes the store.
    """
    waiting = StoreWait(settings.parent_descriptor)
    store = Store.open(
        settings.data_dir,
        clock,
        database=settings.database,
        must_exist=settings.requires_store,
        wait=waiting.pause,
        limits=limits,
        deliver=delivery.deliver,
        on_writer_failure=failures.report,
    )
    stack.enter_context(closing(store))
    context = waiting.repeat(lambda: start_context(store, clock, SystemEntropy(), limits), store.lock)
    token = f"{context.tokens.make_operator_token()}\n"
    waiting.repeat(lambda: write_text(paths.operator_token(settings.data_dir), token), store.lock)
    waiting.finish(store.lock)
    return context


async def serve_requests(
    context: ServiceContext,
    settings: ServerSettings,
    listener: socket.socket,
    delivery: ResultDelivery,
    failures: "LoopFailures",
) -> None:
    """Serve requests until a signal, the end of the process that started this one, or a loop's failure."""
    loop = asyncio.get_running_loop()
    server, url = ServerContext(context), url_of(listener)
    hosts = AllowedHosts(settings.host, listener.getsockname()[1], settings.allowed_hosts)
    http_server = HttpServer(
        App(server, hosts), context.limits, server.closing, lambda: announce_url(settings.data_dir, url)
    )
    for signal_number in CODE_OF_SIGNAL:
        if not is_ignored(signal_number):
            loop.add_signal_handler(signal_number, http_server.stop)
    failures.on_report = lambda: loop.call_soon_threadsafe(http_server.stop)
    with delivery.attach(loop), watch_descriptor(settings.parent_descriptor, http_server.stop):
        background = asyncio.create_task(server.background.run(), name="background loops")
        background.add_done_callback(
            lambda task: None if server.closing.is_set() else failures.report("background loops", task)
        )
        freeze_garbage_collector()
        await http_server.serve(sockets=[listener])
        await asyncio.wait([background])
        server.close()
    failures.on_report = lambda: None


class LoopFailures:
    """Loops that ended although the server was not stopping, and the exit code that follows.

    Without one of its loops a server would answer but no longer do all of its work, so its process ends.
    """

    def __init__(self) -> None:
        self.code: ExitCode = ExitCode.DONE
        self.names: list[str] = []
        self.on_report: Callable[[], object] = lambda: None

    def report(self, name: str, task: "asyncio.Task[None] | None" = None) -> None:
        """Record that a loop failed, and stop the server. May be called from any thread."""
        self.names.append(name)
        cause = task.exception() if task is not None and not task.cancelled() else None
        # A restart is of no use while another server has the store; after any other failure it helps.
        self.code = ExitCode.CONFIGURATION if isinstance(cause, ConfigurationError) else ExitCode.FAILED
        logger.critical("loop failed: %s: the server stops", name, exc_info=cause)
        self.on_report()


def announce_url(data_dir: Path, url: str) -> None:
    """Write the server's URL to `server.url` in the data directory, and print it on stderr."""
    write_text(paths.server_url(data_dir), f"{url}\n")
    print(f"listening on {url}", file=sys.stderr, flush=True)
