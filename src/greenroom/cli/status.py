"""`greenroom status`: prints the overview once, or with `--watch` whenever it changes.

Options of `--watch`: it reads again at every event, and at least every `REFRESH_S` (more rarely if a read is slow, see
`READ_SHARE_MAX`). While the server is unreachable it retries every `RETRY_S` and shows the last known state.
"""

import logging
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TextIO

import msgspec

from greenroom.cli.connection import open_session
from greenroom.cli.overview import UNREACHABLE, Overview, ServerView, read_overview, without_heartbeat_times
from greenroom.cli.status_tables import headlines, overview_tables
from greenroom.cli.table import plain_lines, print_table
from greenroom.cli.terminal import print_json, print_json_line, print_lines
from greenroom.client.api_client import ApiClient
from greenroom.clock import Clock, SystemClock, format_instant
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.exit_codes import ExitCode
from greenroom.loop import Loop
from greenroom.settings.resolve import Settings

log = logging.getLogger("greenroom.cli.status")

REFRESH_S = 0.8
"""Seconds between reads: a change by time alone, as the end of a restart hold, has no event."""
READ_SHARE_MAX = 0.25
"""The share of time that reading may take: many rooms are many calls."""
RETRY_S = 1.0

ShowOverview = Callable[[Overview], None]


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    if arguments.watch:
        clock = SystemClock()
        with overview_printer(out, arguments.json, clock) as show:
            watch(settings, show, clock)
    overview = read_overview(open_session(settings))
    if arguments.json:
        print_json(out, overview)
        return ExitCode.DONE
    now = SystemClock().wall()
    print_lines(out, headlines(overview, now))
    for table in overview_tables(overview, now):
        print(file=out)
        print_table(out, table)
    return ExitCode.DONE


def watch(settings: Settings, show: ShowOverview, clock: Clock) -> None:
    """Show the overview after each event, until interrupted. An unreachable server is shown as unreachable."""
    session = open_session(settings)
    changed = start_follower(open_session(settings), clock)
    unknown = Overview(server=ServerView(url=settings.url, status=UNREACHABLE), needs=(), rooms=(), machines=())
    overview = unknown
    away_since: str | None = None
    while True:
        changed.clear()
        started_at = clock.monotonic()
        try:
            overview, away_since = read_overview(session), None
        except Unavailable:
            away_since = away_since or format_instant(clock.wall())
            unreachable = ServerView(url=settings.url, status=UNREACHABLE, since=away_since)
            overview = msgspec.structs.replace(overview, server=unreachable)
        show(overview)
        read_s = clock.monotonic() - started_at
        changed.wait(RETRY_S if away_since else max(REFRESH_S, read_s / READ_SHARE_MAX))


def start_follower(session: ApiClient, clock: Clock) -> threading.Event:
    """Start a loop that follows the server's events; return the flag that it sets at each."""
    changed = threading.Event()
    Loop("follow", lambda: follow_events(session, changed), RETRY_S, clock, log).start()
    return changed


def follow_events(session: ApiClient, changed: threading.Event) -> float | None:
    """Set the flag at every event until the stream ends; the seconds until it is opened again.

    None if the server refuses the stream: then only the regular refresh remains.
    """
    try:
        for _ in session.stream_events(newest=0):
            changed.set()
    except Unavailable:
        return RETRY_S
    except GreenroomError:
        return None
    return 0.0


@contextmanager
def overview_printer(out: TextIO, as_json: bool, clock: Clock) -> Iterator[ShowOverview]:
    """A function that shows an overview: as a line of JSON, on a live screen, or as text if `out` is no terminal."""
    if as_json or not out.isatty():
        yield skip_unchanged(
            lambda overview: print_json_line(out, overview) if as_json else print_text(out, overview, clock.wall())
        )
        return
    screen = import_module("greenroom.cli.live_screen")
    with screen.live_screen(out) as live:

        def draw(overview: Overview) -> None:
            now, is_ok = clock.wall(), overview.server.status == "ok"
            tables = overview_tables(overview, now)
            live.update(screen.render_screen(headlines(overview, now), is_ok, tables, live.console.width), refresh=True)

        yield draw


def skip_unchanged(show: ShowOverview) -> ShowOverview:
    """Wrap `show` to skip an overview that differs from the last one only by heartbeats."""
    last: list[Overview] = []

    def show_if_new(overview: Overview) -> None:
        state = without_heartbeat_times(overview)
        if [state] != last:
            last[:] = [state]
            show(overview)

    return show_if_new


def print_text(out: TextIO, overview: Overview, now: float) -> None:
    """Print an overview as text, with an empty line after each part."""
    print_lines(out, headlines(overview, now))
    for table in overview_tables(overview, now):
        print("\n".join(["", *plain_lines(table)]), file=out)
    print(file=out, flush=True)
