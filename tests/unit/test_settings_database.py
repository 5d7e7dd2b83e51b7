"""The URL of a database: which ones are valid, and that no password is shown."""

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.database import check_database, without_password


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
def test_what_can_be_meant_is_shown_without_its_password(url: str) -> None:
    assert url == check_database(url, "here")
    shown = without_password(url)
    assert "hu" not in shown
    assert shown.startswith(url.partition("://")[0])
    assert ("***" in shown) == ("hu" in url)


def test_all_but_the_password_is_shown() -> None:
    url = "postgresql://me:hush@host:5432/db?password=hush&sslmode=require"
    assert "postgresql://me:***@host:5432/db?password=***&sslmode=require" == without_password(url)


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
def test_what_cannot_be_meant_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="environment GREENROOM_DATABASE") as caught:
        check_database(url, "environment GREENROOM_DATABASE")
    assert "hush" not in str(caught.value)
    assert "postgresql://USER@HOST" in caught.value.guidance


def test_what_is_no_url_is_not_shown_at_all() -> None:
    assert "hush" not in without_password("host=localhost password=hush")
