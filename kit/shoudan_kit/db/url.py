"""Database URLs as libpq writes them: several hosts, sslmode, target_session_attrs; read once, at start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from shoudan_kit.tls.hops import is_loopback

SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
DEFAULT_PORT: Final = "5432"
HOSTS_MAX: Final = 8
# Services write, so they may only be sent to a server that can be written to.
SESSIONS: Final = frozenset({"read-write", "primary"})
SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
VERIFIED_MODES: Final = frozenset({"verify-ca", "verify-full"})
PARAMETERS: Final = frozenset(
    {
        "host",
        "port",
        "user",
        "password",
        "dbname",
        "passfile",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "target_session_attrs",
        "krbsrvname",
    }
)


class DatabaseUrlInvalid(ValueError):
    """What cannot be understood in a database URL, without anything secret."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A parsed URL: who connects, and one URL per host for the driver, in the order given.

    `unverified` are hosts outside of this machine whose certificate would not be checked; `places` are
    host and port of each.
    """

    user: str
    database: str
    hosts: tuple[str, ...]
    unverified: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    conninfo: str = field(default="", repr=False)  # the whole as libpq's keywords, for a server

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """`postgresql://[user[:password]@]host[:port][,…]/database[?parameter=value&…]`.

        Raises DatabaseUrlInvalid for what libpq would not understand, and for sessions that cannot write.
        """
        scheme, separator, _ = text.partition("://")
        if not separator or scheme not in SCHEMES:
            raise DatabaseUrlInvalid("it must begin with postgresql://")
        try:
            parts = urlsplit(f"postgresql://{text.partition('://')[2]}")
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise DatabaseUrlInvalid("its hosts or parameters cannot be read") from None
        if parts.fragment:
            raise DatabaseUrlInvalid("a # in it must be written %23")
        login, _, where = parts.netloc.rpartition("@")
        parameters = _parameters(given)
        user, password = _login(login, parameters)
        database = unquote(parts.path.removeprefix("/")) or parameters.pop("dbname", "") or user
        if not database:
            raise DatabaseUrlInvalid("it names no database")
        hosts = _hosts(where, parameters)
        parameters.setdefault("target_session_attrs", "read-write")
        rest = {"user": user, "password": password, **parameters}
        known = {name: value for name, value in rest.items() if value}
        return cls(
            user,
            database,
            tuple(
                f"postgresql:///{quote(database, safe='')}?"
                + urlencode({"host": host, "port": port, **known})
                for host, port in hosts
            ),
            _unverified(hosts, parameters),
            tuple(f"{host}:{port}" for host, port in hosts),
            _conninfo(hosts, database, known),
        )


def unverified_mistakes(name: str, url: str, profile: str) -> Iterator[str]:
    """In prod a server elsewhere shows a certificate. Raises DatabaseUrlInvalid."""
    exposed = DatabaseUrl.parse(url).unverified
    if profile == "prod" and exposed:
        yield (
            f"{name}: {', '.join(exposed)} is not on this machine: write sslmode=verify-full and "
            "sslrootcert=<file of its authority>"
        )


def _unverified(hosts: list[tuple[str, str]], parameters: dict[str, str]) -> tuple[str, ...]:
    if parameters.get("sslmode") in VERIFIED_MODES:
        return ()
    return tuple(host for host, _ in hosts if not (host.startswith("/") or is_loopback(host)))


def _conninfo(hosts: list[tuple[str, str]], database: str, known: Mapping[str, str]) -> str:
    names, ports = zip(*hosts, strict=True)
    values = {
        "host": ",".join(one.strip("[]") for one in names),
        "port": ",".join(ports),
        "dbname": database,
        **known,
    }
    escaped = {name: one.replace("\\", "\\\\").replace("'", "\\'") for name, one in values.items()}
    return " ".join(f"{name}='{one}'" for name, one in escaped.items())


def _parameters(given: list[tuple[str, str]]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in given:
        if name not in PARAMETERS:
            raise DatabaseUrlInvalid(f"parameter {name!r} is not known")
        if name in parameters:
            raise DatabaseUrlInvalid(f"parameter {name!r} is given twice")
        parameters[name] = value
    if parameters.get("sslmode", "prefer") not in SSL_MODES:
        raise DatabaseUrlInvalid(f"sslmode must be one of {', '.join(sorted(SSL_MODES))}")
    if parameters.get("target_session_attrs", "primary") not in SESSIONS:
        raise DatabaseUrlInvalid(
            "target_session_attrs must be read-write or primary: services write"
        )
    return parameters


def _login(login: str, parameters: dict[str, str]) -> tuple[str, str]:
    name, _, password = login.partition(":")
    user, password = unquote(name), unquote(password)
    return user or parameters.pop("user", ""), password or parameters.pop("password", "")


def _hosts(where: str, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """(host, port) pairs, from before the path or from the parameters `host` and `port`."""
    host_list, port_list = parameters.pop("host", ""), parameters.pop("port", "")
    if where and host_list:
        raise DatabaseUrlInvalid("hosts are given twice, before the path and as a parameter")
    if where:
        pairs = [_split_port(unquote(one)) for one in where.split(",")]
    else:
        pairs = [(one, "") for one in host_list.split(",")] if host_list else []
    if not pairs or not all(host for host, _ in pairs):
        raise DatabaseUrlInvalid(
            "each host needs a name, for example postgresql://user@db1,db2/name"
        )
    if len(pairs) > HOSTS_MAX:
        raise DatabaseUrlInvalid(f"at most {HOSTS_MAX} hosts")
    ports = port_list.split(",") if port_list else [""]
    if len(ports) not in {1, len(pairs)}:
        raise DatabaseUrlInvalid("there must be one port, or as many as hosts")
    ports = ports * len(pairs) if len(ports) == 1 else ports
    found = [
        (host, own or port or DEFAULT_PORT) for (host, own), port in zip(pairs, ports, strict=True)
    ]
    for _, port in found:
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
            raise DatabaseUrlInvalid("a port must be a number from 1 to 65535")
    return found


def _split_port(host: str) -> tuple[str, str]:
    """`db:5433`, `[::1]:5433`, `db`; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        address, bracket, rest = host.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise DatabaseUrlInvalid("an IPv6 address must stand in [ ]")
        return address + bracket, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
