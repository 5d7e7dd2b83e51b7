"""Resolves the settings in effect: flag > environment > project > user config > default.

A project's `greenroom.toml` defines the agents of a room, but never the server: a cloned repository must not be able to
send the user's token to an address of its choice.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from greenroom.domain.errors import ConfigurationError
from greenroom.domain.limits import VARIABLE_PREFIX, Limits, read_limits, variable_name
from greenroom.file_lock import read_holder
from greenroom.settings import paths, stored_tokens
from greenroom.settings.harness import DaemonSettings, Harness, check_daemon_settings, resolve_daemon_settings
from greenroom.settings.project import Project, find_project, load_project
from greenroom.settings.server_address import describe_invalid, without_secrets
from greenroom.settings.suggest import suggest_name
from greenroom.settings.toml_file import read_toml

DEFAULT_URL = "http://127.0.0.1:6464"
DEFAULT = "default"
IN_DATA_DIR = "sqlite"
LOOPBACK = re.compile(r"127(\.\d{1,3}){3}")
NAMED_VARIABLES = (
    "URL",
    "TOKEN",
    "DATA_DIR",
    "DATABASE",
    "ROOM",
    "ROLE",
    "TASK",
    "ATTEMPT",
    "CONNECTION",
    "NOTES",
    "RESULT",
    "MODEL",
)


class UserConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's `config.toml` as it is written."""

    url: str | None = None
    data_dir: str | None = None
    database: str | None = None
    daemon: DaemonSettings = DaemonSettings()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in effect in one process. `origins` has the source of each value.

    `database` is None for SQLite in the data directory. It may contain a password. It is not checked here, since a
    process that does not open the database must not fail for it.
    `url` has no user or password. If the address was written with one, `former_folder` is the folder name that an
    earlier version made of it.
    """

    url: str
    token: str | None
    data_dir: Path
    database: str | None = None
    former_folder: str | None = None
    limits: Limits
    project: Project | None
    user_daemon: DaemonSettings
    origins: dict[str, str]

    def harnesses(self) -> dict[str, Harness]:
        """All harnesses of this machine, by name; the project's take precedence over the user's."""
        return {**self.user_daemon.harnesses, **(self.project.harnesses() if self.project else {})}

    def labels(self) -> dict[str, str]:
        """The labels of this machine, without those that it sets itself; the project's take precedence."""
        return {**self.user_daemon.labels, **(self.project.daemon.labels if self.project else {})}

    def allowed_dirs(self) -> tuple[Path, ...]:
        """The directories in and below which agents may work on this machine."""
        project = self.project.daemon.allowed_dirs if self.project else ()
        return tuple(Path(folder) for folder in (*project, *self.user_daemon.allowed_dirs))


def resolve_settings(flags: Mapping[str, str | None], environ: Mapping[str, str], cwd: Path | None) -> Settings:
    """Resolve all values. `flags` may hold `url`, `data_dir`, `database` and `config`, the project's file.

    Without `cwd`, no project is searched: an agent must be able to hand in its work while that file is being edited.
    Raises ConfigurationError for an invalid value.
    """
    user_file = paths.user_config(environ)
    user = UserConfigFile() if user_file is None else read_user_config(user_file)
    from_user = f"user config {user_file}"
    url, url_from = first_set(
        (flags.get("url"), "flag --url"),
        (environ.get("GREENROOM_URL"), "environment GREENROOM_URL"),
        (user.url, from_user),
        (DEFAULT_URL, DEFAULT),
    )
    data_dir_text, dir_from = first_set(
        (flags.get("data_dir"), "flag --data-dir"),
        (environ.get("GREENROOM_DATA_DIR"), "environment GREENROOM_DATA_DIR"),
        (user.data_dir, from_user),
        (DEFAULT, DEFAULT),
    )
    database_text, database_from = first_set(
        (flags.get("database"), "flag --database"),
        (environ.get("GREENROOM_DATABASE"), "environment GREENROOM_DATABASE"),
        (user.database, from_user),
        (IN_DATA_DIR, DEFAULT),
    )
    data_dir = paths.default_data_dir(environ) if dir_from == DEFAULT else paths.expand_home(data_dir_text).absolute()
    former_folder, url = paths.former_folder_name(url), check_url(url, url_from)
    token, token_from = find_token(url, data_dir, environ)
    project, project_from = find_project_in_effect(flags.get("config"), cwd)
    return Settings(
        url=url,
        token=token,
        data_dir=data_dir,
        database=None if database_text == IN_DATA_DIR else database_text,
        former_folder=former_folder if former_folder != paths.server_folder_name(url) else None,
        limits=read_limits(environ),
        project=project,
        user_daemon=user.daemon,
        origins={
            "url": url_from,
            "data_dir": dir_from,
            "database": database_from,
            "token": token_from,
            "project": project_from,
            "daemon": origin_of_daemon(project, user, from_user),
            **origins_of_limits(environ),
        },
    )


def first_set(*candidates: tuple[str | None, str]) -> tuple[str, str]:
    """The first value that is set, with its origin. An empty text is not set."""
    return next((value, origin) for value, origin in candidates if value)


def read_user_config(path: Path) -> UserConfigFile:
    """Read the user's settings; the defaults if there is no file, which is common."""
    if not path.is_file():
        return UserConfigFile()
    user = read_toml(path, UserConfigFile)
    check_daemon_settings(path, user.daemon)
    return msgspec.structs.replace(user, daemon=resolve_daemon_settings(user.daemon, path.parent, has_agents=False))


def find_project_in_effect(config_path: str | None, cwd: Path | None) -> tuple[Project | None, str]:
    """The project that was named, or the nearest one in or above `cwd`; and where it came from."""
    if config_path:
        return load_project(Path(config_path)), "flag --config"
    found = find_project(cwd) if cwd is not None else None
    return (None, DEFAULT) if found is None else (load_project(found), f"found from {cwd}")


def find_token(url: str, data_dir: Path, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The token to send to `url`, and its origin: GREENROOM_TOKEN, a stored login, or the operator token.

    The operator token of this machine's server never leaves this machine: it is sent only to a loopback address, or to
    the address at which the server of this data directory listens. A token that was stored for the address takes
    precedence over it, since a tunnel to another machine has a loopback address, too; but not while the server of this
    data directory itself listens there.
    """
    if token := environ.get("GREENROOM_TOKEN", "").strip():
        return check_token(token, "GREENROOM_TOKEN"), "environment GREENROOM_TOKEN"
    stored = stored_tokens.find_stored_token(environ, url)
    if stored is not None and not is_local_server(url, data_dir):
        return check_token(stored, str(paths.login(environ, url))), f"login {paths.login(environ, url)}"
    if not is_loopback(url) and not is_local_server(url, data_dir):
        return None, f"{DEFAULT} (none: for a server on another machine, `greenroom login` or set GREENROOM_TOKEN)"
    path = paths.operator_token(data_dir)
    try:
        return check_token(path.read_text("utf-8", "replace").strip(), str(path)) or None, f"file {path}"
    except OSError as error:
        return None, f"{DEFAULT} (none: {path}: {error.strerror})"


def is_local_server(url: str, data_dir: Path) -> bool:
    """Whether a server runs on this data directory and listens at this address."""
    try:
        server_url = paths.server_url(data_dir).read_text("utf-8", "replace").strip()
    except OSError:
        return False
    return server_url == url and read_holder(paths.server_lock(data_dir))[0] is not None


def check_token(token: str, origin: str) -> str:
    """Return the token. Raises ConfigurationError for a text that no HTTP header can carry, such as a wrong paste."""
    if not token.isascii() or any(mark.isspace() or not mark.isprintable() for mark in token):
        raise ConfigurationError(
            f"{origin} holds no token: a token is one word of ASCII letters, digits and signs.",
            "Set it again, exactly as it was printed.",
        )
    return token


def check_url(url: str, origin: str) -> str:
    """Return the address without user and password. Raises ConfigurationError when it is no address of a server."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        usable = usable and parts.path.isascii() and is_host(parts.hostname or "")
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{describe_invalid(url)} ({origin}) is not an address of a server.", f"Write it like {DEFAULT_URL}."
        )
    return without_secrets(url)


def is_host(name: str) -> bool:
    """Whether a name can be looked up: a name with other letters than ASCII has a form in ASCII."""
    return name.isascii() or bool(name.encode("idna"))


def is_loopback(url: str) -> bool:
    """Whether the address is a loopback address."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or LOOPBACK.fullmatch(host) is not None


def origin_of_daemon(project: Project | None, user: UserConfigFile, from_user: str) -> str:
    """The files that define what this machine may run: the project's, the user's, or both, which are merged."""
    origins = (
        [f"project {project.path}"] if project and (project.harnesses() or project.daemon != DaemonSettings()) else []
    )
    origins += [from_user] if user.daemon != DaemonSettings() else []
    return ", ".join(origins) or DEFAULT


def origins_of_limits(environ: Mapping[str, str]) -> dict[str, str]:
    """The origin of each duration and limit."""
    variables = {name: variable_name(name) for name in Limits.__struct_fields__}
    return {name: f"environment {variable}" if variable in environ else DEFAULT for name, variable in variables.items()}


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """The GREENROOM_ variables that Greenroom does not know, each with a suggestion."""
    known = {VARIABLE_PREFIX + name for name in NAMED_VARIABLES}
    known |= {variable_name(name) for name in Limits.__struct_fields__}
    unknown = sorted(name for name in environ if name.startswith(VARIABLE_PREFIX) and name not in known)
    return [(name, suggest_name(name, known)) for name in unknown]
