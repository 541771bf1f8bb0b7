"""Settings: typed, read once at start from the environment and one TOML file, mistakes reported together."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shoudan_kit.db.shard_settings import shard_mistakes, shards_field
from shoudan_kit.db.url import DatabaseUrlInvalid, unverified_mistakes
from shoudan_kit.seal_keys import SealKeys, interval_field, keys_field
from shoudan_kit.tls.hops import exposed, is_loopback, nats_mistake
from shoudan_kit.tls.identity import Files, TlsInvalid
from shoudan_kit.tracing.settings import TraceFields, endpoint_mistakes

PREFIX = "SHOUDAN_"
FILE_VARIABLE = "SHOUDAN_CONFIG"
SHARED = "shared"
SECRET_BYTES_MAX = 65_536
SHOWN_CHARS_MAX = 80

S = TypeVar("S", bound="Settings")


class Secret(SecretStr):
    """Text that shows as stars wherever it is printed, logged or dumped."""

    def reveal(self) -> str:
        """The text itself: only to hand it to the library that needs it."""
        return self.get_secret_value()


class ConfigError(ValueError):
    """Everything that is wrong with the settings, one readable line each."""

    def __init__(self, section: str, mistakes: list[str]) -> None:
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        super().__init__(f"{len(mistakes)} mistake(s) in the settings of {section}:{lines}")
        self.section, self.mistakes = section, mistakes


@dataclass(frozen=True, slots=True)
class _Given:
    """A raw value and where it was found."""

    value: Any
    origin: str


class Settings(BaseSettings):
    """Base of every section. Only `load` reads the outside; a constructor call is pure."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)
    # Part of a section that another class reads whole: keys it does not know are no mistakes.
    partial: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bare = [name for name, info in cls.model_fields.items() if not info.description]
        if bare:
            raise TypeError(f"{cls.__name__}: describe {', '.join(bare)} (unit, why)")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructor arguments only; `load` looks for the rest so that it can say where it looked."""
        return (init_settings,)

    @classmethod
    def load(
        cls,
        section: str,
        toml_path: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> Self:
        """The settings of `section`; the first of these that is set wins, field by field:

        SHOUDAN_<SECTION>_X, SHOUDAN_X, [section] x, [shared] x, the default. For secrets each variable
        may instead be named ..._FILE and hold a path. Empty variables count as not set. The file is
        `toml_path`, else what SHOUDAN_CONFIG names. Raises ConfigError with every mistake in it.
        """
        environ = os.environ if environ is None else environ
        mistakes: list[str] = []
        tables = _tables(toml_path or environ.get(FILE_VARIABLE) or None, mistakes)
        mistakes += _unknown_keys(cls, section, tables)
        given = {
            name: found
            for name, info in cls.model_fields.items()
            if (found := _find(section, name, info, environ, tables, mistakes)) is not None
        }
        settings = _build(cls, section, given, mistakes)
        if settings is not None:
            mistakes += settings.cross_check()
        if settings is None or mistakes:
            raise ConfigError(section, mistakes)
        return settings

    def cross_check(self) -> Iterator[str]:
        """What is wrong between fields that are each right. Subclasses extend it."""
        yield from ()


Profile = Literal["demo", "test", "prod"]
LogLevel = Literal["debug", "info", "warning", "error"]
Callers = Literal["auto", "enforce", "loopback"]
OpenService = Literal["health", "reflection"]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]

DEMO_MARK = "demo"  # every secret the demo profile makes begins with it


class TlsSettings(Settings):
    """The certificate a process shows to the others, and whose certificates it accepts."""

    tls_cert: Path | None = Field(
        None,
        description="PEM file of this process's certificate, intermediates after it; it carries the name "
        "spiffe://shoudan/<service>. A file that is replaced is taken within seconds.",
        examples=["/tls/current/tls.crt"],
    )
    tls_key: Path | None = Field(
        None, description="PEM file of its private key.", examples=["/tls/current/tls.key"]
    )
    tls_ca: Path | None = Field(
        None,
        description="PEM file of the authorities whose certificates are accepted, of servers and clients.",
        examples=["/tls/current/ca.crt"],
    )

    @property
    def tls_files(self) -> Files | None:
        """Where the three files are; None without TLS."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        return Files(self.tls_cert, self.tls_key, self.tls_ca)

    def cross_check(self) -> Iterator[str]:
        """All three files or none, and they can be used."""
        yield from super().cross_check()
        files = self.tls_files
        if files is None:
            named = [n for n in ("tls_cert", "tls_key", "tls_ca") if getattr(self, n) is not None]
            if named:
                yield f"{', '.join(named)}: TLS needs all of tls_cert, tls_key and tls_ca"
            return
        try:
            files.read()
        except TlsInvalid as mistake:
            yield str(mistake)


class ProcessSettings(TlsSettings, TraceFields):
    """What every process has, with or without a database."""

    masked: ClassVar[frozenset[str]] = frozenset()  # fields of log lines that name a person

    profile: Profile = Field(
        "demo",
        description="demo: everything on this machine; test: short time-outs; prod: strict checks.",
        examples=["prod"],
    )
    system_id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="The system this process is part of; gRPC health answers to shoudan.system.<id>.",
    )
    nats_url: str | None = Field(
        None,
        description="NATS servers, separated by commas. Without any, events wait in the outbox; "
        "nothing else waits for it.",
        examples=["nats://nats-1:4222,nats://nats-2:4222"],
    )
    nats_replicas: int = Field(
        1,
        ge=1,
        le=5,
        description="Copies of the event stream when it is first made; 3 on a NATS cluster.",
    )
    listen_host: str = Field(
        "127.0.0.1",
        description="Address served. Loopback unless a network in front of it is trusted.",
        examples=["10.0.0.5"],
    )
    listen_port: Port = Field(0, description="Port served; 0 takes any free one.", examples=[50051])
    ops_port: Port = Field(
        0, description="Port of /healthz, /readyz and /metrics; 0 serves none.", examples=[9090]
    )
    log_level: LogLevel = Field(
        "info", description="Least severe level that is written.", examples=["warning"]
    )
    drain_s: Seconds = Field(
        20,
        description="Seconds running calls get after SIGTERM; containers are killed after 30.",
    )
    rpc_concurrency_max: int = Field(
        200,
        ge=1,
        le=10_000,
        description="Calls in progress at once; more are refused at once, so that queues stay short.",
    )
    rpc_message_bytes_max: int = Field(
        16 * 2**20,
        ge=2**16,
        le=64 * 2**20,
        description="Largest gRPC message in bytes. gRPC's own 4 MiB is too small for 1000 items of 8 KiB.",
    )
    callers: Callers = Field(
        "auto",
        description="enforce: a call needs a certificate or a token with the right of its method; loopback: "
        "who calls from this machine may call everything; auto: enforce with TLS, else loopback. "
        "prod refuses loopback.",
    )
    owner_certificate: str = Field(
        "",
        pattern=r"^[a-z0-9_-]{0,63}$",
        description="Name of the certificate whose holder has every role until operators log in; or none.",
        examples=["cli"],
    )
    identity_target: str | None = Field(
        None,
        description="gRPC target of the identity service: its keys are fetched and trusted, and stay so "
        "while it is away; without it no operator's login is.",
        examples=["dns:///identity:50051"],
    )
    token_keys: list[str] = Field(
        [],
        description="Files with public keys (JWK sets) of operators' tokens; read again when they change.",
        examples=[["/run/secrets/operator.jwks.json"]],
    )
    rpc_open: list[OpenService] = Field(
        ["health"],
        description="What is answered without a caller where callers are enforced: health, reflection.",
        examples=[["health", "reflection"]],
    )
    rpc_connection_age_s: int = Field(
        4,
        ge=1,
        le=86_400,
        description="Seconds after which clients must connect anew and look for replicas, so that an added "
        "one is called within 5 s. Calls under way end where they began.",
    )

    # Settings that hold an address served, and those of them that serve gRPC.
    listen_hosts: ClassVar[tuple[str, ...]] = ("listen_host",)
    tls_hosts: ClassVar[tuple[str, ...]] = ("listen_host",)

    @property
    def nats_servers(self) -> list[str]:
        """The servers of `nats_url`, separated by commas; the first that answers is used."""
        return [one.strip() for one in (self.nats_url or "").split(",")] if self.nats_url else []

    def cross_check(self) -> Iterator[str]:
        """NATS servers must be understood now; in prod no secret may be one of the demo's, outside of
        prod nothing leaves this machine."""
        yield from super().cross_check()
        yield from endpoint_mistakes(self.trace_endpoint, self.profile)
        for server in self.nats_servers:
            if (wrong := nats_mistake(server)) is not None:
                yield f"nats_url: {wrong}"
        if self.profile != "prod":
            for name in self.listen_hosts:
                host: str = getattr(self, name)
                if not is_loopback(host):
                    yield (
                        f"{name}: {host} is reached from outside, which the {self.profile} profile "
                        f"refuses; set {PREFIX}PROFILE=prod, or leave {name} on loopback"
                    )
            return
        yield from self._exposed()
        if self.callers == "loopback":
            yield "callers: loopback must not be used in the prod profile"
        for name in type(self).model_fields:
            value: object = getattr(self, name)
            if isinstance(value, Secret) and value.reveal().startswith(DEMO_MARK):
                yield f"{name}: a demo secret must not be used in the prod profile"

    def _exposed(self) -> Iterator[str]:
        served = {name: str(getattr(self, name)) for name in self.tls_hosts}
        called = {
            name: str(getattr(self, name))
            for name in type(self).model_fields
            if name.endswith("_target") and getattr(self, name)
        }
        tls = self.tls_files is not None
        yield from exposed(tls=tls, served=served, called=called, nats=self.nats_servers)


class MigrateSettings(Settings):
    """What `shoudan migrate` needs of a service's section: no other setting stops it."""

    partial: ClassVar[bool] = True

    profile: Profile = Field("demo", description="In prod the database's clock cannot be turned.")
    database_url: Secret = Field(
        description="PostgreSQL database of this service, as the role that may not change tables.",
        examples=["postgresql://shoudan_order@db/shoudan_order"],
    )
    owner_database_url: Secret | None = Field(
        None, description="The same database as the owner of its tables."
    )
    shards: Path | None = shards_field()

    def cross_check(self) -> Iterator[str]:
        """In prod, URLs that leave this machine verify the server. What is no URL is said on use."""
        yield from super().cross_check()
        for name in ("database_url", "owner_database_url"):
            value: Secret | None = getattr(self, name)
            with suppress(DatabaseUrlInvalid):
                if value is not None:
                    yield from unverified_mistakes(name, value.reveal(), self.profile)


class ServiceSettings(ProcessSettings):
    """What every service with a database of its own has. `shardable`: it may have several shards."""

    shardable: ClassVar[bool] = False

    database_url: Secret = Field(
        description="PostgreSQL database of this service, as the role that may not change tables.",
        examples=["postgresql://shoudan_order@db/shoudan_order"],
    )
    owner_database_url: Secret | None = Field(
        None,
        description="The same database as the owner of its tables; used by `shoudan migrate` alone.",
        examples=["postgresql://shoudan_order_owner@db/shoudan_order"],
    )
    shards: Path | None = shards_field()
    task_lease_s: Seconds = Field(
        20, description="Seconds after which the tasks of a killed process are taken by others."
    )
    task_scan_s: Seconds = Field(
        1, description="Seconds between looks at the task table; wake-ups come sooner."
    )
    task_queues: list[str] = Field(
        default_factory=list[str],
        description="Queues this process serves; empty for all. Gives a product line workers of its own.",
        examples=["oms:order:pay,oms:order:bind"],
    )
    task_shards: list[str] = Field(
        default_factory=list[str],
        description="Shards whose tasks this process does, such as 0-3; all without. It answers for all.",
        examples=["0-3,5"],
    )
    db_pool_size: int = Field(
        8,
        ge=1,
        le=64,
        description="Connections of this process; all processes together stay below PostgreSQL's 100.",
    )
    audit_log_keys: Secret = keys_field()
    audit_log_seal_s: Seconds = interval_field()

    def cross_check(self) -> Iterator[str]:
        """Database URLs and keys must be understood now, not when a session is opened."""
        yield from super().cross_check()
        if mistake := SealKeys.mistake(self.audit_log_keys.reveal()):
            yield f"audit_log_keys: {mistake}"
        for name in ("database_url", "owner_database_url"):
            value: Secret | None = getattr(self, name)
            try:
                if value is not None:
                    yield from unverified_mistakes(name, value.reveal(), self.profile)
            except DatabaseUrlInvalid as wrong:
                yield f"{name}: {wrong}"
        yield from shard_mistakes(self, self.db_pool_size, shardable=self.shardable)


def variables_of(section: str, name: str) -> list[str]:
    """The environment variables of a setting, the section's own first."""
    own = [f"{PREFIX}{section}_{name}".upper()] if section else []
    return [*own, f"{PREFIX}{name}".upper()]


def _tables(path: str | Path | None, mistakes: list[str]) -> dict[str, dict[str, Any]]:
    """The tables of the TOML file; none without a file."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read ({error.strerror})")
    except ValueError as error:  # both TOML and UTF-8 mistakes
        mistakes.append(f"{path}: is not TOML ({error})")
    else:
        loose = [key for key, value in document.items() if not isinstance(value, dict)]
        mistakes += [f"{path}: {key} stands outside of a [section]" for key in loose]
        return {key: value for key, value in document.items() if key not in loose}
    return {}


def _unknown_keys(
    cls: type[Settings], section: str, tables: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Keys of the section's own table that mean nothing. [shared] holds keys of others, too."""
    for key in tables.get(section, {}) if not cls.partial else ():
        if key not in cls.model_fields:
            near = get_close_matches(key, cls.model_fields, 1)
            yield f"[{section}] {key}: no such setting" + (f"; {near[0]}?" if near else "")


def _find(
    section: str,
    name: str,
    info: FieldInfo,
    environ: Mapping[str, str],
    tables: Mapping[str, Mapping[str, Any]],
    mistakes: list[str],
) -> _Given | None:
    secret = _is_secret(info)
    for variable in variables_of(section, name):
        text, path = environ.get(variable), environ.get(f"{variable}_FILE") if secret else None
        if text and path:
            mistakes.append(f"{variable} and {variable}_FILE are both set: keep one")
        if text:
            return _Given(_from_text(text, info), variable)
        if path:
            return _Given(_secret_text(path, variable, mistakes), f"{variable}_FILE")
    for table in (section, SHARED):
        if name in tables.get(table, {}):
            return _Given(tables[table][name], f"[{table}] {name}")
    return None


def _secret_text(path: str, variable: str, mistakes: list[str]) -> str:
    """The file's text without the line break editors add. Unreadable files are a mistake."""
    try:
        with Path(path).open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"{variable}_FILE: {path} cannot be read ({type(error).__name__})")
        return ""


def _from_text(text: str, info: FieldInfo) -> Any:
    """Variables hold text: lists come as JSON or separated by commas, tables as JSON."""
    if not any(get_origin(t) in {list, tuple, set, frozenset, dict} for t in _types(info)):
        return text
    if text[0] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text  # then the type check names the field and shows the text
    return [part.strip() for part in text.split(",")]


def _build(
    cls: type[S], section: str, given: Mapping[str, _Given], mistakes: list[str]
) -> S | None:
    try:
        return cls(**{name: found.value for name, found in given.items()})
    except ValidationError as error:
        for one in error.errors(include_url=False):
            name = str(one["loc"][0]) if one["loc"] else ""
            mistakes.append(_mistake(cls, section, name, given.get(name), one["msg"]))
    return None


def _mistake(cls: type[Settings], section: str, name: str, given: _Given | None, wrong: str) -> str:
    info = cls.model_fields.get(name)
    example = f", for example {info.examples[0]}" if info and info.examples else ""
    if given is None:
        return f"{name}: {wrong}; set {variables_of(section, name)[0]}{example}"
    secret = info is None or _is_secret(info)
    shown = "(secret)" if secret else repr(given.value)[:SHOWN_CHARS_MAX]
    return f"{given.origin} = {shown}: {wrong}{example}"


def _types(info: FieldInfo) -> tuple[Any, ...]:
    """The annotation and, of a union, its parts."""
    annotation = info.annotation
    return (annotation, *get_args(annotation))


def _is_secret(info: FieldInfo) -> bool:
    return any(isinstance(t, type) and issubclass(t, SecretStr) for t in _types(info))
