"""The path of the data directory, and the names of the files in it."""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.server_address import without_secrets

FOLDER = "greenroom"
FORMER_CONNECTIONS = "sittings"
FORMER_RESTART_STATE = "histories.json"
"""What `all_connections` and `restart_state` were called in versions before store schema 4."""
OWN_ENTRIES = (
    *("claims", "connections", FORMER_CONNECTIONS, "logs", "outbox", "residents", "runs"),
    *("machine.json", "restart_state.json", FORMER_RESTART_STATE),
    *("daemon.lock", "greenroom.db*", "operator.token", "server.lock", "server.url"),
)
"""What Greenroom creates in a data directory, beside the agents' `work`."""
WORK_LEVELS = 2
"""How many levels of folders a daemon creates in `work`: of rooms, and of roles."""
UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """The default data directory: in the XDG state directory. Raises ConfigurationError when no home is known."""
    folder = xdg_folder(environ, "XDG_STATE_HOME", ".local/state")
    if folder is None:
        raise no_home_error("Name the data directory with --data-dir or GREENROOM_DATA_DIR, or set HOME.")
    return folder / FOLDER


def user_config(environ: Mapping[str, str]) -> Path | None:
    """The settings of one user on one machine; None when no home is known, so that there are none."""
    folder = xdg_folder(environ, "XDG_CONFIG_HOME", ".config")
    return None if folder is None else folder / FOLDER / "config.toml"


def login(environ: Mapping[str, str], url: str) -> Path | None:
    """The token that the user stored for the server at this address; None when no home is known."""
    config = user_config(environ)
    return None if config is None else config.parent / "logins" / f"{UNSAFE.sub('_', without_secrets(url))}.json"


def xdg_folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """A base directory of the XDG specification. As that demands, a path that is not absolute is ignored."""
    path = environ.get(variable, "")
    if path.startswith("/"):
        return Path(path)
    home = find_home(environ)
    return None if home is None else home / below_home


def find_home(environ: Mapping[str, str]) -> Path | None:
    """The user's home: HOME if it is an absolute path, or else that of the passwd file; None when neither names one."""
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(home) if home.startswith("/") else None


def expand_home(text: str) -> Path:
    """Replace `~` or `~USER` at the beginning of a path. Raises ConfigurationError when that home is not known."""
    name, _, rest = text.partition("/")
    if name == "~":
        home = find_home(os.environ)
        if home is None:
            raise no_home_error(f"Write {text} as an absolute path, or set HOME.")
        return home / rest.lstrip("/")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigurationError(
            f"{text}: no home directory of that user is known.", "Write the absolute path."
        ) from None


def no_home_error(guidance: str) -> ConfigurationError:
    """The error where the user's home is needed and not known."""
    return ConfigurationError(
        "No home directory is known: HOME is no absolute path, and the user number "
        f"{os.getuid()} is in no passwd file.",
        guidance,
        "no_home",
    )


def operator_token(data_dir: Path) -> Path:
    return data_dir / "operator.token"


def server_lock(data_dir: Path) -> Path:
    return data_dir / "server.lock"


def server_url(data_dir: Path) -> Path:
    """The file with the address where the server of this data directory listens, or listened last."""
    return data_dir / "server.url"


def up_lock(data_dir: Path) -> Path:
    """The lock of `greenroom up`, with the process ids of the server and the daemon that it started."""
    return data_dir / "up.lock"


def daemon_lock(data_dir: Path) -> Path:
    return data_dir / "daemon.lock"


def machine(data_dir: Path) -> Path:
    """The identity of this machine."""
    return data_dir / "machine.json"


def restart_state(data_dir: Path) -> Path:
    """The restart state of this machine's agents, for the next daemon."""
    return data_dir / "restart_state.json"


def database(data_dir: Path) -> Path:
    return data_dir / "greenroom.db"


def all_claims(data_dir: Path) -> Path:
    """The folder of all claim files."""
    return data_dir / "claims"


def claims(data_dir: Path, url: str, room: str, role: str) -> Path:
    """The folder of the claim files that agents of one role of one server wrote."""
    return all_claims(data_dir) / server_folder_name(url) / room / role


def claim(data_dir: Path, url: str, room: str, role: str, task: str, attempt: int) -> Path:
    return claims(data_dir, url, room, role) / f"{task}.{attempt}.json"


def all_connections(data_dir: Path) -> Path:
    """The folder of all connection files."""
    return data_dir / "connections"


def connections(data_dir: Path, url: str, room: str, role: str) -> Path:
    """The folder of the files by which the next `wait-for-task` of a role goes on as the same participant."""
    return all_connections(data_dir) / server_folder_name(url) / room / role


def runs(data_dir: Path) -> Path:
    return data_dir / "runs"


def run(data_dir: Path, task: str, attempt: int) -> Path:
    """The folder of one run: its input, its output and its exit status."""
    return runs(data_dir) / f"{task}.{attempt}"


def residents(data_dir: Path) -> Path:
    """The records of resident processes."""
    return data_dir / "residents"


def outbox(data_dir: Path) -> Path:
    """The reports that the server does not have yet."""
    return data_dir / "outbox"


def logs(data_dir: Path) -> Path:
    return data_dir / "logs"


def work(data_dir: Path) -> Path:
    """The directories of agents whose spec names none: `ROOM/ROLE`."""
    return data_dir / "work"


def log(data_dir: Path, name: str) -> Path:
    return logs(data_dir) / f"{name}.log"


def server_folder_name(url: str) -> str:
    """Convert a server's address to a folder name: `http://127.0.0.1:6464/` becomes `127.0.0.1_6464`."""
    return former_folder_name(without_secrets(url))


def former_folder_name(url: str) -> str:
    """The folder name of an earlier version, which contains the user and password of an address."""
    return UNSAFE.sub("_", url.partition("://")[2].strip("/")) or "_"


def working_directory() -> Path:
    """The folder in which this process was started. Raises ConfigurationError if it was removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigurationError(
            f"The folder in which this command runs cannot be used: {error.strerror}.",
            "Change to a folder that exists (`cd`), then run it again.",
        ) from error
