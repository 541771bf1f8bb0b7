"""Promises of deploy/systemd: each unit starts its service on what the page makes; no secret is text."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from shoudan_kit.config import ConfigError, MigrateSettings, Secret, ServiceSettings, variables_of
from shoudan_kit.service import STOP_GRACE_S, services
from tests.deploy import units
from tests.test_compose import OURS, PAGE
from tests.test_tidy import ROOT

HARDENED = units.FOLDER / "shoudan-.service.d/10-hardened.conf"
NAMED = {"order": "partners", "gateway": "partners", "delivery": "suppliers", "pay": "payments"}

every_service = pytest.mark.parametrize("name", OURS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return units.made(tmp_path_factory.mktemp("etc"))


def unit(name: str) -> Path:
    return units.FOLDER / f"shoudan-{name.replace('_', '-')}@.service"


def test_there_is_a_unit_for_each_service_and_for_what_surrounds_them() -> None:
    found = {one.name for one in units.FOLDER.glob("*.service")}
    rest = {"shoudan-migrate.service", "shoudan-rotate.service"}
    assert found == {unit(name).name for name in OURS} | rest


@every_service
def test_a_service_starts_on_what_its_unit_gives_it(name: str, home: Path) -> None:
    given = units.environment(unit(name), name, home)
    settings = services()[name].settings
    try:
        found = settings.load(name, environ=given)
    except ConfigError as error:
        pytest.fail(f"{unit(name).name} or shoudan.env lacks settings of {name}: {error}")
    assert (found.profile, found.nats_replicas) == ("prod", 3)
    for variable in units.variables(unit(name)):
        field = variable.removeprefix("SHOUDAN_").removesuffix("_FILE").lower()
        known = {field, field.removeprefix(f"{name}_")} & settings.model_fields.keys()
        assert known, f"{variable} is no setting of {name}"


@every_service
def test_a_secret_is_a_credential_and_never_text_in_a_unit(name: str, home: Path) -> None:
    settings = services()[name].settings
    secret = {f for f, info in settings.model_fields.items() if Secret in _types(info.annotation)}
    text = unit(name).read_text() + (units.FOLDER / "shoudan.env").read_text()
    for field in secret:
        assert not any(f"{variable}=" in text for variable in variables_of(name, field))
    for source in units.values(unit(name), "LoadCredential"):
        file = Path(source.split(":")[1].replace(units.HOME, str(home)))
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert file.parent.name == name, "another service's"
    if issubclass(settings, ServiceSettings):
        assert "owner" not in unit(name).read_text()


def _types(annotation: object) -> tuple[object, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


@every_service
def test_a_service_runs_as_a_user_of_its_own_and_reads_its_own_key(name: str) -> None:
    user = f"shoudan-{name.replace('_', '-')}"
    assert units.values(unit(name), "User") == units.values(unit(name), "Group") == [user]
    assert f"u {user} " in (units.FOLDER / "sysusers.conf").read_text()
    folders = (units.FOLDER / "tmpfiles.conf").read_text()
    assert f"d /etc/shoudan/pki/{name} 0750 root {user}\n" in folders
    assert units.values(unit(name), "ExecStart") == [f"/opt/shoudan/bin/shoudan serve {name}"]


@every_service
def test_a_stop_is_waited_for_as_long_as_it_may_take(name: str, home: Path) -> None:
    found = services()[name].settings.load(name, environ=units.environment(unit(name), name, home))
    (seconds,) = units.values(unit(name), "TimeoutStopSec")
    assert found.drain_s + STOP_GRACE_S < int(seconds)


@every_service
def test_named_secrets_come_from_a_file_that_only_root_reads(name: str, home: Path) -> None:
    wanted = [f"-/etc/shoudan/{NAMED[name]}.env"] if name in NAMED else []
    assert units.values(unit(name), "EnvironmentFile") == wanted
    for one in wanted:
        assert (home / Path(one).name).stat().st_mode & 0o777 == 0o600


def test_replicas_and_services_of_one_host_share_no_port(home: Path) -> None:
    ports = list[int]()
    for name in OURS:
        found = services()[name].settings.load(
            name, environ=units.environment(unit(name), name, home)
        )
        ports += [found.listen_port, found.ops_port]
        ports += [found.internal_port] if name == "gateway" else []
    assert all(port % 10 == 1 for port in ports), "replicas 1 to 9 differ in the last digit"
    assert len(set(ports)) == len(ports)


def test_migrate_alone_has_the_owners_and_finds_every_database(home: Path) -> None:
    file = units.FOLDER / "shoudan-migrate.service"
    given = units.environment(file, "cli", home)
    for name, service in services().items():
        if service.schema is not None:
            found = MigrateSettings.load(name, environ=given)
            assert found.owner_database_url is not None
            assert "owner" in found.owner_database_url.reveal()
    assert units.values(file, "Type") == ["oneshot"]


def test_every_unit_is_hardened() -> None:
    text = HARDENED.read_text()
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=\n",
        "PrivateTmp=yes",
        "SystemCallFilter=@system-service",
        "UMask=0077",
    ):
        assert line in text
    for file in units.FOLDER.glob("*.service"):
        assert not set(dict(units.lines_of(file))) & set(dict(units.lines_of(HARDENED))) - {
            "EnvironmentFile"
        }, "a unit takes back what all have"


def test_new_credentials_keeps_what_is_there(home: Path) -> None:
    before = {one: one.read_text() for one in home.rglob("*") if one.is_file()}
    script = units.FOLDER / "new-credentials.sh"
    hosts = "db-1.example.com,db-2.example.com"
    argv = ["sh", str(script), "https://pay.example.com", hosts, str(home)]
    subprocess.run(argv, check=True, capture_output=True)
    assert {one: one.read_text() for one in home.rglob("*") if one.is_file()} == before


def test_scripts_parse() -> None:
    for script in (units.FOLDER / "new-credentials.sh", ROOT / "tools/systemd.sh"):
        subprocess.run(["bash", "-n", script], check=True)


def test_what_the_page_enables_comes_back_with_the_machine() -> None:
    """Services are wanted by the target, which nothing starts unless it is enabled, too."""
    (enabled,) = re.findall(r"`systemctl enable --now (\S+ shoudan-pay@1 [^`]*)`", PAGE)
    services_ = {f"shoudan-{name.replace('_', '-')}@1" for name in OURS}
    assert set(enabled.split()) == {"shoudan.target", *services_}
    assert units.values(units.FOLDER / "shoudan.target", "WantedBy") == ["multi-user.target"]
    assert all(units.values(unit(name), "WantedBy") == ["shoudan.target"] for name in OURS)


def test_paths_are_whole_where_systemd_would_look_elsewhere() -> None:
    for command in ("systemd-sysusers", "systemd-tmpfiles --create"):
        assert f'{command} "$PWD/deploy/systemd/' in PAGE
