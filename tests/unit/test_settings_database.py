"""The URL of a database: which ones are valid, and that no password is shown."""

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.database import check_database_url, hide_password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/db",
        "postgres://me@host:5432/db",
        "postgresql://me:hush@host/db",
        "postgresql://me:hu%40sh@one:1,two:2/db?target_session_attrs=any",
        "postgresql://me:hu?sh#@host/db",
        "postgresql://[::1]:5432/db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://me@/db?host=/run/postgresql&password=hush",
        "postgresql://",
    ],
)
def test_valid_url_is_shown_without_password(url: str) -> None:
    assert url == check_database_url(url, "here")
    shown = hide_password(url)
    assert "hu" not in shown
    assert shown.startswith(url.partition("://")[0])
    assert ("***" in shown) == ("hu" in url)


def test_only_password_is_hidden() -> None:
    url = "postgresql://me:hush@host:5432/db?password=hush&sslmode=require"
    assert "postgresql://me:***@host:5432/db?password=***&sslmode=require" == hide_password(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///file.db",
        "host=localhost password=hush",
        "postgresql://me:hush@hush@host/db",
        "postgresql://me:hush/hush@host/db",
        "postgresql://me:hush hush@host/db",
        "postgresql://host:port/db",
    ],
)
def test_invalid_url_is_rejected_unprinted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="environment GREENROOM_DATABASE") as caught:
        check_database_url(url, "environment GREENROOM_DATABASE")
    assert "hush" not in str(caught.value)
    assert "postgresql://USER@HOST" in caught.value.guidance


def test_text_without_scheme_is_hidden() -> None:
    assert "hush" not in hide_password("host=localhost password=hush")
