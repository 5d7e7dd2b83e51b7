"""Checks of `greenroom doctor`: Python, variables, data directory, database, token, server and clock.

Each check yields findings: a level (`ok`, `warning` or `problem`), what was found, and what to do about it.
"""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from greenroom import __version__
from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import HttpTransport
from greenroom.clock import Clock
from greenroom.domain.errors import ConfigurationError, GreenroomError, Refused, Unauthorized, Unavailable
from greenroom.file_lock import WAITING, read_holder
from greenroom.settings import paths
from greenroom.settings.database import check_database_url, hide_password
from greenroom.settings.files import find_own_open_to_others
from greenroom.settings.resolve import Settings, is_loopback, unknown_variables
from greenroom.settings.server_address import without_secrets

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"

PACKAGES = ("msgspec", "SQLAlchemy", "uvicorn", "psutil", "rich")
DISK_BYTES_LOW = 1 << 30
DISK_BYTES_NEEDED = 100 << 20
CLOCK_SKEW_S = 5.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check. `next` says what to do about it, usually only if it is not `ok`."""

    what: str
    level: str
    detail: str
    next: str | None = None


def check_python() -> Iterator[Finding]:
    detail = (
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable}), greenroom {__version__}"
    )
    yield Finding(what="python", level=OK, detail=detail)
    try:
        yield Finding(what="packages", level=OK, detail=", ".join(f"{part} {version(part)}" for part in PACKAGES))
    except PackageNotFoundError as error:
        yield Finding(
            what="packages", level=PROBLEM, detail=f"{error.name} is not installed.", next="Reinstall greenroom."
        )


def check_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    unknown = unknown_variables(environ)
    for name, guess in unknown:
        detail = f"{name} is not a Greenroom variable. {guess}"
        yield Finding(what="variables", level=WARNING, detail=detail, next=f"Correct its name, or: unset {name}")
    if not unknown:
        yield Finding(what="variables", level=OK, detail="all GREENROOM_ variables are recognised")


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        yield Finding(what="data directory", level=OK, detail=f"{folder} is missing; the first start creates it")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        guidance = f"Make {folder} readable and writable for this user, or choose another: --data-dir DIR."
        yield Finding(
            what="data directory", level=PROBLEM, detail=f"{folder} cannot be read and written", next=guidance
        )
    elif mode & 0o077:
        detail = f"other users can access {folder} (mode {mode:04o})"
        yield Finding(what="data directory", level=WARNING, detail=detail, next=f"chmod 700 {folder}")
    else:
        yield Finding(what="data directory", level=OK, detail=f"{folder} (mode {mode:04o})")
    if mode & 0o077:
        yield from check_own_files(folder)
    yield check_disk(folder)


def check_own_files(folder: Path) -> Iterator[Finding]:
    """Check that others, who can enter the data directory, can access none of Greenroom's files in it."""
    found = list(find_own_open_to_others(folder))
    if found:
        mode = stat.S_IMODE(found[0].lstat().st_mode)
        detail = f"other users can access {len(found)} of its files and folders, such as {found[0]} (mode {mode:04o})"
        guidance = "The next start of the server or the daemon makes them private."
        yield Finding(what="data directory", level=WARNING, detail=detail, next=guidance)


def check_database(settings: Settings) -> Iterator[Finding]:
    """Check the URL of the database and its driver. Whether the database answers, the server reports."""
    url, origin = settings.database, settings.origins["database"]
    if url is None:
        yield Finding(what="database", level=OK, detail="SQLite in the data directory")
        return
    try:
        check_database_url(url, origin)
    except ConfigurationError as error:
        yield Finding(what="database", level=PROBLEM, detail=error.detail, next=error.guidance)
        return
    try:
        detail = f"{hide_password(url)} ({origin}), with psycopg {version('psycopg')}"
        yield Finding(what="database", level=OK, detail=detail)
    except PackageNotFoundError:
        detail = f"{hide_password(url)} ({origin}), but psycopg is not installed"
        yield Finding(what="database", level=PROBLEM, detail=detail, next="Reinstall greenroom.")


def check_disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free for {folder}"
    if free < DISK_BYTES_LOW:
        level = PROBLEM if free < DISK_BYTES_NEEDED else WARNING
        guidance = "Free some space: on a full disk no task can change its state."
        return Finding(what="disk", level=level, detail=detail, next=guidance)
    return Finding(what="disk", level=OK, detail=detail)


def check_token(settings: Settings) -> Iterator[Finding]:
    path = paths.operator_token(settings.data_dir)
    origin = settings.origins["token"]
    if settings.token is None:
        guidance = (
            f"Ask an operator for one (greenroom machine token NAME), then store it: greenroom login {settings.url}"
        )
        if is_loopback(settings.url):
            guidance = "Start the server as this user (greenroom up), or set GREENROOM_TOKEN."
        yield Finding(what="token", level=WARNING, detail=origin, next=guidance)
    elif origin.startswith("file") and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding(what="token", level=PROBLEM, detail=f"other users can read {path}", next=f"chmod 600 {path}")
    else:
        yield Finding(what="token", level=OK, detail=origin)


def check_server(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Check that the server answers, its background loops are on time, it accepts the token, and the clocks agree."""
    session = ApiClient(settings.url, settings.token, settings.limits)
    try:
        health = session.healthz()
    except GreenroomError as error:
        yield Finding(what="server", level=PROBLEM, detail=error.detail, next=advise_on_unreachable_server(settings))
        return
    yield Finding(what="server", level=OK, detail=f"{settings.url} answers")
    if health.late:
        detail = f"late: {', '.join(health.late)}"
        yield Finding(
            what="loops", level=PROBLEM, detail=detail, next="Read the server's log; its machine may be overloaded."
        )
    else:
        yield Finding(what="loops", level=OK, detail="the server's background loops are on time")
    try:
        session.rooms(limit=1)
        yield Finding(what="access", level=OK, detail="the server accepts the token")
    except Unauthorized as error:
        yield Finding(what="access", level=WARNING, detail=error.detail, next=error.guidance)
    except Refused:
        yield Finding(what="access", level=OK, detail="the server accepts the token, as a machine's or an agent's")
    except Unavailable as error:
        yield Finding(what="access", level=PROBLEM, detail=error.detail, next=error.guidance)
    except GreenroomError as error:
        yield Finding(what="access", level=WARNING, detail=error.detail, next=error.guidance)
    yield from check_clock(settings, clock)


def advise_on_unreachable_server(settings: Settings) -> str:
    """What to do about a server that does not answer. Files of a server or daemon here may hold its address."""
    server_url = paths.server_url(settings.data_dir)
    pid, text = read_holder(paths.server_lock(settings.data_dir))
    if text.startswith(WAITING):
        return f"The server is started (process {pid}), and {text}"
    if pid is not None and server_url.is_file():
        address = server_url.read_text("utf-8", "replace").strip()
    else:
        _, address = read_holder(paths.daemon_lock(settings.data_dir))
    address = without_secrets(address)
    if address and address != settings.url:
        config = paths.user_config(os.environ)
        in_file = "" if config is None else f', or `url = "{address}"` in {config}'
        return f"The server used here is at {address}: set GREENROOM_URL to that{in_file}"
    if is_loopback(settings.url):
        return "Start it: greenroom up"
    return f"Check that it runs there, and that this machine reaches that address: curl {settings.url}/healthz"


def check_clock(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Compare the clocks. No rule depends on that, but the times that users see do."""
    response = HttpTransport(settings.url).request("GET", "/healthz", None, {}, settings.limits.request_timeout_s)
    stamp = response.headers.get("date")
    if stamp is None:
        return
    skew_s = clock.wall() - parsedate_to_datetime(stamp).timestamp()
    if abs(skew_s) > CLOCK_SKEW_S:
        detail = f"this machine and the server differ by {abs(skew_s):.0f} s"
        guidance = "Greenroom does not depend on it, but displayed times differ: synchronise the clocks with NTP."
        yield Finding(what="clock", level=WARNING, detail=detail, next=guidance)
    else:
        yield Finding(what="clock", level=OK, detail=f"this machine and the server agree within {CLOCK_SKEW_S:g} s")
