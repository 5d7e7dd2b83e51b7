"""Flag > environment > user config > default; a project cannot set servers or tokens."""

from pathlib import Path

import pytest

from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import HttpTransport
from greenroom.domain.errors import ConfigurationError
from greenroom.file_lock import acquire_lock
from greenroom.settings import paths, stored_tokens
from greenroom.settings.files import write_record
from greenroom.settings.resolve import Settings, resolve_settings, unknown_variables
from greenroom.settings.stored_tokens import StoredToken, find_stored_token, remove_stored_token, store_token


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def write_user_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / ".config" / "greenroom" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    return path


def settings_from(environ: dict[str, str], cwd: Path | None = None, **flags: str | None) -> Settings:
    return resolve_settings(flags, environ, cwd)


def test_defaults(home: dict[str, str], tmp_path: Path) -> None:
    settings = settings_from(home)

    assert "http://127.0.0.1:6464" == settings.url
    assert tmp_path / ".local" / "state" / "greenroom" == settings.data_dir
    assert settings.token is None
    assert {"default"} == {settings.origins[name] for name in ("url", "data_dir", "project", "heartbeat_ttl_s")}


def test_source_precedence(home: dict[str, str], tmp_path: Path) -> None:
    user = write_user_config(tmp_path, 'url = "http://user:1"\ndata_dir = "/data/user"\n')
    variables = {"GREENROOM_URL": "http://environment:1", "GREENROOM_DATA_DIR": "/data/environment"}

    by_user = settings_from(home)
    by_environment = settings_from(home | variables)
    by_flag = settings_from(home | variables, url="http://flag:1", data_dir="/data/flag")

    assert ("http://user:1", f"user config {user}") == (by_user.url, by_user.origins["url"])
    assert "http://environment:1" == by_environment.url
    assert "environment GREENROOM_URL" == by_environment.origins["url"]
    assert ("http://flag:1", "flag --url") == (by_flag.url, by_flag.origins["url"])
    assert [Path("/data/user"), Path("/data/environment"), Path("/data/flag")] == [
        by_user.data_dir,
        by_environment.data_dir,
        by_flag.data_dir,
    ]


def test_limit_origin_is_variable(home: dict[str, str]) -> None:
    settings = settings_from(home | {"GREENROOM_SWEEP_INTERVAL_S": "0.5"})

    assert 0.5 == settings.limits.sweep_interval_s
    assert "environment GREENROOM_SWEEP_INTERVAL_S" == settings.origins["sweep_interval_s"]
    assert "default" == settings.origins["heartbeat_interval_s"]


def test_operator_token_is_for_local_server_only(home: dict[str, str], tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    paths.operator_token(data_dir).write_text("secret\n", "utf-8")

    local = [
        settings_from(home, url=f"http://{host}:6464", data_dir=str(data_dir))
        for host in ("127.0.0.1", "localhost", "[::1]")
    ]
    remote = settings_from(home, url="http://127.0.0.1.example.org:6464", data_dir=str(data_dir))
    with_variable = settings_from(home | {"GREENROOM_TOKEN": "mine"}, url="http://example.org", data_dir=str(data_dir))

    assert ["secret"] * 3 == [settings.token for settings in local]
    assert remote.token is None
    assert "mine" == with_variable.token


@pytest.mark.parametrize("url", ["127.0.0.1:6464", "ftp://host", "http://", "http://host:port", "http://host:99999"])
def test_invalid_url_names_origin(home: dict[str, str], url: str) -> None:
    with pytest.raises(ConfigurationError, match="environment GREENROOM_URL"):
        settings_from(home | {"GREENROOM_URL": url})


def test_misspelt_user_config_key_is_rejected(home: dict[str, str], tmp_path: Path) -> None:
    user = write_user_config(tmp_path, 'datadir = "/data"\n')

    with pytest.raises(ConfigurationError) as caught:
        settings_from(home)
    assert f"{user}: `datadir`: unknown key." == caught.value.detail
    assert "Did you mean `data_dir`?" == caught.value.guidance


def test_project_cannot_set_url(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "greenroom.toml").write_text('url = "http://elsewhere.example"\n', "utf-8")

    with pytest.raises(ConfigurationError, match="`url`: unknown key"):
        settings_from(home, tmp_path)


def test_project_is_found_in_parents(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "greenroom.toml").write_text("this is not TOML", "utf-8")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)

    assert settings_from(home, None).project is None
    with pytest.raises(ConfigurationError, match="is not TOML"):
        settings_from(home, deep)


def test_harnesses_merge_user_and_project(home: dict[str, str], tmp_path: Path) -> None:
    write_user_config(tmp_path, '[daemon]\nallowed_dirs = ["/work"]\n[daemon.harnesses.a]\ncommand = ["a"]\n')
    project = tmp_path / "project" / "greenroom.toml"
    project.parent.mkdir()
    project.write_text('[daemon]\nallowed_dirs = ["here"]\n[daemon.harnesses.b]\ncommand = ["b"]\n', "utf-8")

    settings = settings_from(home, None, config=str(project))

    assert {"a": ("a",), "b": ("b",)} == {name: harness.command for name, harness in settings.harnesses().items()}
    assert (project.parent / "here", Path("/work")) == settings.allowed_dirs()
    assert "flag --config" == settings.origins["project"]


def test_user_config_paths_are_relative_to_it(home: dict[str, str], tmp_path: Path) -> None:
    user = write_user_config(tmp_path, '[daemon]\nallowed_dirs = ["work", "~/src", "../x"]\n')

    directories = settings_from(home, tmp_path).allowed_dirs()

    assert (user.parent / "work", Path.home() / "src", user.parent / ".." / "x") == directories


def test_project_labels_override_user(home: dict[str, str], tmp_path: Path) -> None:
    write_user_config(tmp_path, '[daemon.labels]\ngpu = "none"\nrack = "a"\n')
    project = tmp_path / "greenroom.toml"
    project.write_text('[daemon.labels]\ngpu = "two"\n', "utf-8")

    assert {"gpu": "two", "rack": "a"} == settings_from(home, tmp_path).labels()
    assert f"project {project}, user config" in settings_from(home, tmp_path).origins["daemon"]


def test_user_harnesses_are_validated(home: dict[str, str], tmp_path: Path) -> None:
    user = write_user_config(tmp_path, '[daemon.harnesses."a b"]\ncommand = ["a"]\n')

    with pytest.raises(ConfigurationError, match=r"daemon\.harnesses\.a b") as caught:
        settings_from(home)
    assert str(user) in caught.value.detail


def test_database_sources(home: dict[str, str], tmp_path: Path) -> None:
    assert (None, "default") == (settings_from(home).database, settings_from(home).origins["database"])
    write_user_config(tmp_path, 'database = "postgresql://user/one"\n')
    assert "postgresql://user/one" == settings_from(home).database
    environ = home | {"GREENROOM_DATABASE": "postgresql://environment/two"}
    assert ("postgresql://environment/two", "environment GREENROOM_DATABASE") == (
        settings_from(environ).database,
        settings_from(environ).origins["database"],
    )
    assert "postgresql://flag/three" == settings_from(environ, database="postgresql://flag/three").database
    assert None is settings_from(environ, database="sqlite").database, (
        "`sqlite` selects the data directory, whatever else is set"
    )
    (tmp_path / "greenroom.toml").write_text('database = "postgresql://project/four"\n', "utf-8")
    with pytest.raises(ConfigurationError, match="`database`: unknown key"):
        settings_from(home, tmp_path)


def test_unknown_variable_has_suggestion(home: dict[str, str]) -> None:
    unknown = unknown_variables(home | {"GREENROOM_HEARTBEAT_TLL_S": "9", "GREENROOM_URL": "x", "OTHER": "y"})

    assert [("GREENROOM_HEARTBEAT_TLL_S", "Did you mean `GREENROOM_HEARTBEAT_TTL_S`?")] == unknown


def test_relative_xdg_directory_is_ignored(home: dict[str, str], tmp_path: Path) -> None:
    assert tmp_path / ".local/state/greenroom" == paths.default_data_dir(home | {"XDG_STATE_HOME": "state"})
    assert Path("/state/greenroom") == paths.default_data_dir(home | {"XDG_STATE_HOME": "/state"})


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:6464", "127.0.0.1_6464"),
        ("https://example.org/a/../b/", "example.org_a_.._b"),
        ("http://[::1]:80", "_1_80"),
    ],
)
def test_server_key_is_one_folder(url: str, key: str) -> None:
    assert key == paths.server_folder_name(url)
    assert "/" not in paths.server_folder_name(url)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://me:secret@host:6464", "http://host:6464"),
        ("https://me@host/base/", "https://host/base"),
        ("http://me:se@cret@host", "http://host"),
        ("http://me:secret@[::1]:80", "http://[::1]:80"),
        ("http://host?token=secret", "http://host"),
        ("http://host/base#secret", "http://host/base"),
        ("http://host/a@b", "http://host/a@b"),
    ],
)
def test_secrets_are_no_part_of_an_address(home: dict[str, str], written: str, url: str) -> None:
    settings = settings_from(home | {"GREENROOM_URL": written})
    assert url == settings.url == HttpTransport(written).url == ApiClient(written, None, settings.limits).url
    assert "secret" not in paths.server_folder_name(written) + (paths.login(home, written) or Path()).name
    assert (settings.former_folder is None) == (written == url)


@pytest.mark.parametrize(
    "written", ["http://me:sec/ret@host", "htp://me:secret@host", "me:secret@host", "http://me:secret@:1"]
)
def test_invalid_address_with_a_password_is_not_repeated(home: dict[str, str], written: str) -> None:
    for use in (lambda: settings_from(home | {"GREENROOM_URL": written}), lambda: HttpTransport(written)):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert ("sec" not in str(caught.value), "The address" in str(caught.value)) == (True, True)


def test_login_of_an_earlier_version_is_found_without_its_password(home: dict[str, str]) -> None:
    """It was stored for the address with its password, under a name that contained it."""
    present = paths.login(home, "http://host:1")
    assert present is not None
    former = present.with_name("http_me_secret_host_1.json")
    write_record(former, StoredToken(url="http://me:secret@host:1", token="t1"))
    write_record(present.with_name("http_other_host_1.json"), StoredToken(url="http://other_host:1", token="t2"))
    for written in ("http://me:secret@host:1", "http://host:1"):
        assert "t1" == settings_from(home | {"GREENROOM_URL": written}).token
    store_token(home, StoredToken(url="http://host:1", token="t3"))
    assert (False, "t3") == (former.exists(), find_stored_token(home, "http://host:1"))
    write_record(former, StoredToken(url="http://me:secret@host:1", token="t1"))
    assert remove_stored_token(home, "http://host:1")
    assert ["http_other_host_1.json"] == [path.name for path in present.parent.iterdir()]


@pytest.mark.parametrize("token", ["two words", "a\nb", "a\x00b", "tökén", "→"])
def test_invalid_token_is_rejected(home: dict[str, str], token: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GREENROOM_TOKEN"):
        resolve_settings({}, home | {"GREENROOM_TOKEN": token}, None)
    path = paths.operator_token(tmp_path)
    path.write_text(token, "utf-8")
    with pytest.raises(ConfigurationError, match=r"operator\.token"):
        resolve_settings({"data_dir": str(tmp_path)}, home, None)


FAR = "https://far.example:8443"


def test_stored_token_matches_exact_url(home: dict[str, str], tmp_path: Path) -> None:
    path = stored_tokens.store_token(home, StoredToken(url=FAR, token="stored"))
    assert 0o600 == path.stat().st_mode & 0o777
    assert ("stored", f"login {path}") == (
        settings_from(home, url=FAR).token,
        settings_from(home, url=FAR).origins["token"],
    )
    assert "stored" == settings_from(home, url=f"{FAR}/").token
    for other_url in (
        "http://far.example:8443",
        "https://far.example",
        "https://far.example:8443/x",
        "http://far_example",
    ):
        assert settings_from(home, url=other_url).token is None
    path.write_text(path.read_text().replace("far.example", "far_example"))
    assert settings_from(home, url=FAR).token is None, "the file's name is not enough: its URL has to match"
    assert "told" == settings_from(home | {"GREENROOM_TOKEN": "told"}, url=FAR).token


def test_stored_token_yields_to_own_server(home: dict[str, str], tmp_path: Path) -> None:
    url = "http://127.0.0.1:6464"
    data_dir = paths.default_data_dir(home)
    data_dir.mkdir(parents=True)
    paths.operator_token(data_dir).write_text("own")
    paths.server_url(data_dir).write_text(url)
    stored_tokens.store_token(home, StoredToken(url=url, token="stored"))
    assert "stored" == settings_from(home).token, "no server runs here, so another program listens there"
    with acquire_lock(paths.server_lock(data_dir), "server"):
        assert "own" == settings_from(home).token
        assert "stored" == settings_from(home, data_dir=str(tmp_path / "other")).token


def test_forgotten_token_is_removed(home: dict[str, str]) -> None:
    assert not stored_tokens.remove_stored_token(home, FAR)
    path = stored_tokens.store_token(home, StoredToken(url=FAR, token="stored"))
    assert stored_tokens.remove_stored_token(home, FAR)
    assert not path.exists()


def test_operator_token_follows_server_address(home: dict[str, str], tmp_path: Path) -> None:
    settings = settings_from(home, url="http://10.0.0.1:6464")
    settings.data_dir.mkdir(parents=True)
    paths.operator_token(settings.data_dir).write_text("secret")
    paths.server_url(settings.data_dir).write_text("http://10.0.0.1:6464")

    assert settings_from(home, url="http://10.0.0.1:6464").token is None  # no server runs: another program may listen
    with acquire_lock(paths.server_lock(settings.data_dir), "server"):
        assert settings_from(home, url="http://10.0.0.1:6464").token == "secret"
        assert settings_from(home, url="http://10.0.0.2:6464").token is None


def test_home_in_program_is_expanded(home: dict[str, str], tmp_path: Path) -> None:
    write_user_config(tmp_path, '[daemon.harnesses.mine]\ncommand = ["~/bin/agent", "~/x"]\n')
    assert settings_from(home).harnesses()["mine"].command == (str(Path("~/bin/agent").expanduser()), "~/x")
