"""URLs are read as libpq writes them; what cannot be understood is a mistake in the settings."""

from __future__ import annotations

import asyncpg.connect_utils as driver
import pytest

from shoudan_kit.config import ConfigError, ProcessSettings, ServiceSettings
from shoudan_kit.db.url import DatabaseUrl, DatabaseUrlInvalid

NOT_GIVEN = (
    *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile"),
    *("server_settings", "target_session_attrs", "krbsrvname", "gsslib", "direct_tls"),
)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://u:p@h1,h2/db", ["h1:5432", "h2:5432"]),
        ("postgresql://u@h1:5433,h2:5434/db?sslmode=require", ["h1:5433", "h2:5434"]),
        ("postgres://u@[::1]:5433,[fe80::1]/db", ["[::1]:5433", "[fe80::1]:5432"]),
        ("postgresql://u@/db?host=h1,h2&port=1,2", ["h1:1", "h2:2"]),
        ("postgresql+asyncpg://u:p%40@/db?host=/run/pg&port=6", ["/run/pg:6"]),
        ("postgresql://u@h1,h2/db?target_session_attrs=primary", ["h1:5432", "h2:5432"]),
    ],
)
def test_hosts_and_parameters_are_understood(text, hosts):
    parsed = DatabaseUrl.parse(text)
    assert (parsed.user, parsed.database) == ("u", "db")
    found = []
    for host in parsed.hosts:
        addresses, parameters = driver._parse_connect_dsn_and_args(
            dsn=host, **dict.fromkeys(NOT_GIVEN)
        )
        assert parameters.target_session_attrs.value in {"read-write", "primary"}
        assert parameters.server_settings is None
        found += addresses
    plain = [one if isinstance(one, str) else f"{one[0]}:{one[1]}" for one in found]
    wanted = [
        "/run/pg/.s.PGSQL.6" if one.startswith("/") else one.replace("[", "").replace("]", "")
        for one in hosts
    ]
    assert plain == wanted


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u@h/db",
        "h/db",
        "postgresql://u@/db",
        "postgresql://u@h1,,h2/db",
        "postgresql://u@h:x/db",
        "postgresql://u@h:0/db",
        "postgresql://u@h1:70000/db",
        "postgresql://u@h1,h2/db?port=1,2,3",
        "postgresql://u@h/db?sslmod=require",
        "postgresql://u@h/db?sslmode=on",
        "postgresql://u@h/db?target_session_attrs=standby",
        "postgresql://u@h/db?target_session_attrs=read-only",
        "postgresql://u@h/db?sslmode=require&sslmode=disable",
        "postgresql://u@h/db?sslmode",
        "postgresql://u@[::1/db",
        "postgresql://h",
        "postgresql://u@h/db#x",
    ],
)
def test_what_is_not_understood_is_a_mistake_in_the_settings_without_the_password(text):
    with pytest.raises(DatabaseUrlInvalid):
        DatabaseUrl.parse(text)
    given = text.replace("u@", "u:tresor@")
    with pytest.raises(ConfigError) as raised:
        ServiceSettings.load("order", environ={"SHOUDAN_ORDER_DATABASE_URL": given})
    assert "database_url" in str(raised.value)
    assert "tresor" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "servers"),
    [
        ("nats://a:4222", ["nats://a:4222"]),
        ("nats://u:p@a:4222, tls://b", ["nats://u:p@a:4222", "tls://b"]),
    ],
)
def test_nats_servers_are_a_list(given, servers):
    settings = ProcessSettings.load("x", environ={"SHOUDAN_NATS_URL": given})
    assert settings.nats_servers == servers


@pytest.mark.parametrize(
    "given", ["a:4222", "nats://", "nats://a:x", "nats://a,,nats://b", "http://a"]
)
def test_nats_servers_that_are_none_are_a_mistake(given):
    with pytest.raises(ConfigError, match="nats_url"):
        ProcessSettings.load("x", environ={"SHOUDAN_NATS_URL": given})
