"""The promises of compose.yaml and the Dockerfile: hardened, scalable, no secret committed."""

import atexit
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoudan_cli.clients import ClientSettings
from shoudan_console.config import ConsoleSettings
from shoudan_kit.config import ConfigError, MigrateSettings
from shoudan_kit.service import services
from shoudan_kit.tls.identity import Files
from shoudan_kit.tls.nats_access import nats_access

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
CONTAINERS: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = sorted(PROJECT["entry-points"]["shoudan.services"])
KEPT_BY_OTHERS = ["cli", "migrate", "nats", "pki", "postgres", "rotate", "wal"]
# What the replicas of a service share on purpose.
SHARED = {"pay": ["statements:/statements"]}
VERIFIED = "sslmode=verify-full&sslrootcert=/tls/current/ca.crt"
DOCKERFILE = (ROOT / "Dockerfile").read_text()

every_container = pytest.mark.parametrize("name", sorted(CONTAINERS))
every_service = pytest.mark.parametrize("name", OURS)


def instructions(keyword: str) -> list[str]:
    """The arguments of one Dockerfile instruction, in order, continuation lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{keyword}\s+(.+)$", joined, re.MULTILINE)


def environment(name: str) -> dict[str, str]:
    return CONTAINERS[name].get("environment", {})


def test_there_is_one_container_per_service_beside_postgres_nats_and_migrate() -> None:
    assert sorted(CONTAINERS) == sorted([*OURS, *KEPT_BY_OTHERS])


@every_container
def test_a_container_cannot_write_its_image_or_gain_rights(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in container
    assert "cap_add" not in container


def test_a_volume_is_mounted_where_its_user_may_write() -> None:
    """An engine gives a new volume the owner of the folder it hides; root's, where the image has none."""
    steps = [step.split() for line in instructions("RUN") for step in line.split("&&")]
    owned = {one for step in steps if step[0] == "install" for one in step if one.startswith("/")}
    ours = {name: one for name, one in CONTAINERS.items() if "shoudan" in one.get("image", "")}
    written = {
        volume.split(":")[1]
        for container in ours.values()
        for volume in container.get("volumes", [])
        if not volume.endswith(":ro") and volume.partition(":")[0] in COMPOSE["volumes"]
    }
    assert "/pki/identity" in written
    assert written <= owned


@every_container
def test_a_container_does_not_run_as_root(name: str) -> None:
    if CONTAINERS[name].get("build") == ".":
        assert instructions("USER")[-1] == "10001:10001"
        assert "user" not in CONTAINERS[name]
    else:
        assert CONTAINERS[name]["user"] not in {"root", "0", 0}


def test_a_persons_commands_have_a_certificate_no_password_and_no_port() -> None:
    cli = CONTAINERS["cli"]
    assert (cli["profiles"], cli["networks"]) == (["cli"], ["calls"])
    assert cli["volumes"] == ["cli:/state", "pki-cli:/tls:ro"]
    assert not [one for one in environment("cli") if "PASSWORD" in one or "DATABASE" in one]
    assert "ports" not in cli
    page = (ROOT / "docs/operations.md").read_text()
    assert "compose exec" not in page.split("## First partner")[1].split("\n## ")[0]


def test_a_persons_commands_look_at_every_replica(tmp_path: Path) -> None:
    secrets = made_secrets(tmp_path)
    found = ClientSettings.load("cli", environ=filled_in("cli", secrets))
    console = ConsoleSettings.load("console", environ=filled_in("console", secrets))
    assert console.ops_urls == found.ops_urls
    ports = {name: environment(name)["SHOUDAN_OPS_PORT"] for name in OURS}
    assert found.ops_urls == {name: f"http://{name}:{port}" for name, port in ports.items()}
    assert all("calls" in CONTAINERS[name]["networks"] for name in (*OURS, "cli"))


@every_container
def test_no_image_is_whatever_is_newest(name: str) -> None:
    image = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", CONTAINERS[name]["image"])
    tag = image.rpartition("/")[2].partition(":")[2]
    assert tag not in {"", "latest"}


def test_the_dockerfile_builds_on_a_tagged_image_and_only_on_hashed_packages() -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert {line.split()[0] for line in instructions("FROM")} == {"${PYTHON_IMAGE}"}
    steps = [step for line in instructions("RUN") for step in line.split("&&")]
    installs = [step for step in steps if re.search(r"pip\b.* (install|wheel) ", step)]
    assert installs
    for step in installs:
        hashed, own = "--require-hashes" in step, "--no-build-isolation" in step
        assert hashed or own or step.rstrip().endswith("/wheels/*.whl")
        assert "--no-deps" in step


def test_what_builds_the_image_stays_out_of_it() -> None:
    assert "python -m venv --without-pip /opt/shoudan" in DOCKERFILE
    assert [line for line in instructions("COPY") if line.startswith("--from")] == [
        "--from=build /opt/shoudan /opt/shoudan"
    ]
    for step in (step for line in instructions("RUN") for step in line.split("&&")):
        assert ("requirements-build.lock" in step) <= ("/opt/build/bin/pip install" in step)


def test_everything_the_dockerfile_copies_exists_and_is_let_through() -> None:
    let_through = (ROOT / ".dockerignore").read_text().splitlines()
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in let_through


@every_service
def test_a_service_runs_its_own_command(name: str) -> None:
    assert CONTAINERS[name]["command"] == ["serve", name]


@every_service
def test_a_service_can_be_scaled(name: str) -> None:
    container = CONTAINERS[name]
    assert "container_name" not in container
    assert "hostname" not in container
    assert container["volumes"] == [*SHARED.get(name, []), f"pki-{name}:/tls:ro"], (
        "replicas would share it"
    )
    for published in container.get("ports", []):
        host = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", published).split(":")[-2]
        assert "-" in host, "one host port is enough for one replica only: publish a range"


@every_service
def test_a_service_waits_for_migrations_and_nats_and_shows_its_health(name: str) -> None:
    container = CONTAINERS[name]
    assert container["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "nats": {"condition": "service_healthy"},
    }
    probe = container["healthcheck"]["test"]
    assert f"/{environment(name)['SHOUDAN_OPS_PORT']} " in probe[-1]


@pytest.mark.parametrize(("name", "port"), [("order", 9090), ("nats", 8222)])
def test_a_container_is_healthy_when_its_page_says_so_and_at_no_other_time(
    name: str, port: int
) -> None:
    statuses = iter([200, 503])

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(statuses) if self.path == "/healthz" else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = str(server.server_port)
        run, flag, line = (
            one.replace(f"/{port} ", f"/{own} ")
            for one in CONTAINERS[name]["healthcheck"]["test"][1:]
        )

        def healthy() -> bool:
            return (
                subprocess.run([run, flag, line], check=False, capture_output=True).returncode == 0
            )

        assert healthy()
        assert not healthy()
        server.shutdown()
    assert not healthy()


@every_service
def test_a_service_reaches_the_others_by_name_over_all_their_replicas(name: str) -> None:
    targets = {k: v for k, v in environment(name).items() if k.endswith("_TARGET")}
    callable_services = [one for one in OURS if one not in {"gateway", "console"}]
    assert targets == {
        f"SHOUDAN_{service.upper()}_TARGET": f"dns:///{service}:50051"
        for service in callable_services
    }


@every_service
def test_a_service_has_its_own_database_and_no_owner_password(name: str) -> None:
    urls = {k: v for k, v in environment(name).items() if "DATABASE_URL" in k}
    if name == "gateway":
        assert urls == {}
        return
    password = f"${{SHOUDAN_{name.upper()}_PASSWORD}}"
    expected = f"postgresql://shoudan_{name}:{password}@postgres/shoudan_{name}?{VERIFIED}"
    assert urls == {f"SHOUDAN_{name.upper()}_DATABASE_URL": expected}


URL = "https://pay.example.com"
NAMED = re.compile(r"SHOUDAN_(SECRET|COMPONENT)_[A-Z0-9_]+")
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
# Files of named secrets that docker/new-env.sh makes, and who reads each.
READERS = {
    ".env.partners": {"gateway", "order"},  # checks calls, signs notifies
    ".env.suppliers": {"delivery"},
    ".env.payments": {"pay"},
}


def new_env(file: Path, *url: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "docker/new-env.sh"), *url, str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def made_secrets(folder: Path) -> dict[str, str]:
    """What docker/new-env.sh writes into .env."""
    file = folder / ".env"
    assert new_env(file, URL).returncode == 0
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def folder_of_certificates(name: str) -> Path:
    """What a container finds at /tls."""
    return certificates() / ("cli" if name == "migrate" else name)


@functools.cache
def certificates() -> Path:
    """Those of all containers: made once, by what compose.yaml runs."""
    folder = Path(tempfile.mkdtemp(prefix="shoudan-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = CONTAINERS["pki"]["command"]
    command = [*made[:2], "--folder", str(folder), *made[made.index("--group-readable") :]]
    main = [sys.executable, "-m", "shoudan_cli", *command]
    subprocess.run(main, check=True, capture_output=True)
    return folder


def filled_in(name: str, secrets: dict[str, str]) -> dict[str, str]:
    """The environment a container gets from compose.yaml and .env, as compose fills it in."""

    tls = folder_of_certificates(name)

    def value(match: re.Match[str]) -> str:
        variable, default = match.group(1), match.group(2)
        if variable in secrets:
            return secrets[variable]
        assert (default or "").startswith(":-"), f"docker/new-env.sh does not make {variable}"
        return default[2:]

    return {
        key: re.sub(r"\$\{(\w+)(:[-?][^}]*)?\}", value, text.replace("/tls/", f"{tls}/"))
        for key, text in environment(name).items()
    }


@every_service
def test_a_service_starts_on_what_compose_and_new_env_give_it(name: str, tmp_path: Path) -> None:
    given = filled_in(name, made_secrets(tmp_path))
    settings = services()[name].settings
    try:
        found = settings.load(name, environ=given)
    except ConfigError as error:
        pytest.fail(f"compose.yaml or docker/new-env.sh lacks settings of {name}: {error}")
    assert found.profile == "prod"
    for variable in given:
        shared = variable.removeprefix("SHOUDAN_").lower()
        known = {shared, shared.removeprefix(f"{name}_")} & settings.model_fields.keys()
        assert known or shared.endswith("_target"), f"{variable} is no setting of {name}"


def test_every_setting_that_production_needs_reaches_its_service(tmp_path: Path) -> None:
    table = PAGE.split("\n## Settings to set\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`SHOUDAN_([A-Z_]+)`", table.split("Any secret may come")[0]))
    # A container's own loopback; a port of the host would be a way in.
    named -= {"GATEWAY_INTERNAL_HOST"}
    secrets, given = made_secrets(tmp_path), dict[str, dict[str, str]]()
    for name in (*OURS, "migrate"):
        given[name] = filled_in(name, secrets)
    assert {"DELIVERY_PUBLIC_URL", "PAY_PUBLIC_BASE_URL", "PROFILE"} <= named
    passed = {variable.removeprefix("SHOUDAN_") for one in given.values() for variable in one}
    assert sorted(named - passed) == []


@every_service
def test_links_lead_where_new_env_was_told(name: str, tmp_path: Path) -> None:
    given = filled_in(name, made_secrets(tmp_path))
    found: Any = services()[name].settings.load(name, environ=given)
    for field in ("public_url", "public_base_url"):
        assert getattr(found, field, URL) == URL


@every_service
def test_a_service_reads_the_named_secrets_it_signs_with_and_no_others(name: str) -> None:
    given: Any = CONTAINERS[name].get("env_file", [])
    read = {given} if isinstance(given, str) else set(given)
    assert read == {file for file, readers in READERS.items() if name in readers}
    assert not any(NAMED.fullmatch(variable) for variable in environment(name))


def test_new_env_makes_a_file_for_each_kind_of_named_secret(tmp_path: Path) -> None:
    made_secrets(tmp_path)
    made = {one.name: one for one in tmp_path.iterdir()}
    assert set(made) == {".env", *READERS}
    assert {one.stat().st_mode & 0o777 for one in made.values()} == {0o600}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", ".env.*"} <= set(ignored)


def test_new_env_asks_for_the_public_url_once(tmp_path: Path) -> None:
    refused = new_env(tmp_path / ".env")
    assert (refused.returncode, "sh docker/new-env.sh https://" in refused.stderr) == (1, True)
    first = made_secrets(tmp_path)
    assert first["SHOUDAN_PUBLIC_URL"] == URL
    assert new_env(tmp_path / ".env").returncode == 0
    assert made_secrets(tmp_path) == first


def test_migrate_finds_every_database_on_what_compose_and_new_env_give_it(tmp_path: Path) -> None:
    given = filled_in("migrate", made_secrets(tmp_path))
    for name, service in services().items():
        if service.schema is not None:
            urls = MigrateSettings.load(name, environ=given)
            assert urls.owner_database_url is not None, f"migrate is not given the owner of {name}"


def test_the_wheel_builds_from_what_the_builder_is_sent(tmp_path: Path) -> None:
    junk = shutil.ignore_patterns("__pycache__", "*.pyc")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line.startswith("!"):
            continue
        source, sent = ROOT / line[1:], tmp_path / "source" / line[1:]
        sent.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, sent, ignore=junk)
        else:
            shutil.copy(source, sent)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(
        build, check=False, cwd=tmp_path / "source", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "shoudan_cli/catalogue.yaml" in names
    assert "shoudan_gateway/app.py" in names


def test_migrate_runs_once_and_alone_knows_the_owners() -> None:
    migrate = CONTAINERS["migrate"]
    assert migrate["command"] == ["migrate"]
    assert migrate["restart"] == "no"
    assert migrate["volumes"] == ["pki-cli:/tls:ro"]
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    owners = [k for k in environment("migrate") if k.endswith("_OWNER_DATABASE_URL")]
    assert len(owners) == len(OURS) - 1  # the gateway keeps nothing


def test_no_password_is_committed_and_a_missing_one_stops_compose() -> None:
    text = (ROOT / "compose.yaml").read_text()
    demanded = set(re.findall(r"\$\{(\w+_PASSWORD):\?[^}]+\}", text))
    assert set(re.findall(r"\$\{(\w+_PASSWORD)", text)) == demanded
    assert not re.search(r"\$\{\w*PASSWORD:?-", text), "a password must have no default"
    for name in CONTAINERS:
        for key, value in environment(name).items():
            if "PASSWORD" in key:
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)
            if "://" in value and "@" in value:
                assert re.search(r"//\w+:\$\{\w+_PASSWORD(:\?[^}]+)?\}@", value)


def test_new_env_makes_every_secret_compose_demands(tmp_path: Path) -> None:
    made = made_secrets(tmp_path)
    text = (ROOT / "compose.yaml").read_text()
    assert set(made) == set(re.findall(r"\$\{(SHOUDAN_\w+):\?", text))
    assert len(set(made.values())) == len(made)
    passwords = [value for name, value in made.items() if name.endswith("_PASSWORD")]
    assert all(re.fullmatch(r"s[0-9a-f]{48}", value) for value in passwords)


def test_new_env_is_its_owner_s_alone_and_keeps_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SHOUDAN_READER_PASSWORD=mine\n")
    file.chmod(0o644)
    first = made_secrets(tmp_path)
    assert first["SHOUDAN_READER_PASSWORD"] == "mine"
    assert file.stat().st_mode & 0o777 == 0o600
    assert made_secrets(tmp_path) == first


def test_postgres_and_nats_are_reached_from_inside_only() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    for name in ("postgres", "nats"):
        assert CONTAINERS[name]["networks"] == ["data"]
        assert "ports" not in CONTAINERS[name]
    published = [name for name in CONTAINERS if "ports" in CONTAINERS[name]]
    assert sorted(published) == ["console", "gateway"]
    for name in published:
        assert all(port.startswith("127.0.0.1:") for port in CONTAINERS[name]["ports"])


def test_postgres_18_keeps_its_data_in_a_volume() -> None:
    assert CONTAINERS["postgres"]["image"].startswith("postgres:18")
    assert "postgres:/var/lib/postgresql" in CONTAINERS["postgres"]["volumes"]
    assert "pg_isready" in CONTAINERS["postgres"]["healthcheck"]["test"]
    flags = " ".join(CONTAINERS["postgres"]["command"])
    assert not re.search(r"(fsync|synchronous_commit|full_page_writes)=", flags)


def test_postgres_init_makes_a_database_for_each_service_and_parses() -> None:
    script = ROOT / "docker/postgres-init.sh"
    made = re.findall(r"^new_database (\w+) ", script.read_text(), re.MULTILINE)
    assert sorted(made) == [name for name in OURS if name != "gateway"]
    subprocess.run(["sh", "-n", script], check=True)


def nats_configuration() -> dict[str, Any]:
    lines = (ROOT / "docker/nats.conf").read_text().splitlines()
    return json.loads("\n".join(line for line in lines if not line.startswith("#")))


def test_nats_lets_each_service_do_what_the_kit_says() -> None:
    current = Path("/tls/current")
    files = Files(current / "tls.crt", current / "tls.key", current / "ca.crt")
    found = nats_configuration()
    access = nats_access(
        files, ("order", "pay", "delivery", "erp_ingest", "identity", "finance", "gateway")
    )
    assert {key: found[key] for key in access} == access


def test_each_container_sees_its_own_key_alone() -> None:
    keys: dict[str, list[str]] = {}
    for name, container in CONTAINERS.items():
        for volume in container.get("volumes", []):
            source = volume.partition(":")[0]
            if source == "pki" or source.startswith("pki-"):
                keys.setdefault(source, []).append(name)
    makers = {"pki", "rotate"}
    assert set(keys.pop("pki")) == makers
    for source, names in keys.items():
        users = {"cli", "migrate"} if source == "pki-cli" else {source.removeprefix("pki-")}
        assert set(names) - makers == users
    assert all(CONTAINERS[name]["network_mode"] == "none" for name in makers)


def test_postgres_copies_its_key_and_speaks_tls() -> None:
    container = CONTAINERS["postgres"]
    assert "ssl=on" in container["command"]
    assert "ssl_min_protocol_version=TLSv1.3" in container["command"]
    subprocess.run(["sh", "-n", ROOT / "docker/postgres-tls.sh"], check=True)


def test_nats_syncs_each_message_and_accepts_its_configuration(tmp_path: Path) -> None:
    found = nats_configuration()
    assert found["jetstream"]["sync_interval"] == "always"
    tls = str(folder_of_certificates("nats") / "current")
    path = tmp_path / "nats.conf"
    path.write_text(json.dumps(found).replace("/tls/current", tls))
    scripts = str(Path(sys.executable).parent)
    server = shutil.which("nats-server", path=scripts)
    assert server is not None
    command = [server, "-t", "-c", str(path)]
    subprocess.run(command, check=True, capture_output=True)
