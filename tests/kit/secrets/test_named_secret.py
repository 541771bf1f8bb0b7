"""Promises about secrets that configuration names: in prod one that everybody knows believes nobody."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shoudan.delivery.v1 import delivery_service_pb2 as delivery
from shoudan.delivery.v1 import delivery_service_pb2_grpc as delivery_grpc
from shoudan.order.v1 import catalogue_service_pb2 as catalogue
from shoudan.order.v1 import catalogue_service_pb2_grpc as catalogue_grpc
from shoudan.pay.v1 import platform_service_pb2 as platform
from shoudan.pay.v1 import platform_service_pb2_grpc as platform_grpc
from shoudan.pay.v1 import setup_service_pb2 as setup
from shoudan.pay.v1 import setup_service_pb2_grpc as setup_grpc
from shoudan_cli.payserver import templates_of
from shoudan_configuration.document import Document, parse
from shoudan_configuration.messages import catalogue_of, suppliers_of
from shoudan_kit.process.child import Child, tail
from shoudan_kit.process.ports import free_port
from shoudan_kit.rpc.client import connect
from shoudan_kit.secrets import named_secret
from shoudan_kit.service import services
from shoudan_kit.tls.identity import Files, Identity
from tests.conftest import Databases
from tests.poll import eventually
from tests.test_compose import filled_in, folder_of_certificates, made_secrets

COMMAND = [sys.executable, "-c", "from shoudan_cli.main import main; main()", "serve"]
DEMO, REAL = "demo-of-acme", "c0ffee-of-these-tests"
PRINTED = sorted(named_secret.PRINTED)


def own() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("SHOUDAN_")}


@pytest.mark.parametrize("name", sorted(services()))
async def test_no_service_starts_in_prod_with_a_demo_secret(name: str, tmp_path: Path) -> None:
    """On the addresses and settings that containers have."""
    file = tmp_path / "key"
    file.write_text(f"{REAL}\n{PRINTED[0]}\n")
    wrong = {
        "SHOUDAN_SECRET_ACME": DEMO,
        "SHOUDAN_COMPONENT_SCANNER": PRINTED[1],
        "SHOUDAN_SECRET_FILED_FILE": str(file),
    }
    env = own() | filled_in(name, made_secrets(tmp_path)) | wrong
    assert ip_address(env["SHOUDAN_LISTEN_HOST"]).is_unspecified  # as compose.yaml says
    env["SHOUDAN_SECRET_REAL"] = REAL
    log = tmp_path / "log"
    child = Child.spawn([*COMMAND, name], env=env, output=log)
    assert await child.ended(60)
    assert child.code == 1
    told = " ".join(log.read_text().split())
    for variable in wrong:
        assert f"{variable}: {named_secret.REFUSED}" in told
    assert "REAL" not in told
    assert DEMO not in told


def test_a_file_of_the_secrets_folder_counts_too(tmp_path: Path) -> None:
    (tmp_path / "ACME").write_text(DEMO)
    (tmp_path / "REAL").write_text(REAL)
    assert list(named_secret.demo_ones({}, tmp_path)) == [str(tmp_path / "ACME")]


def test_a_demo_secret_that_comes_later_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ACME").write_text(f"{REAL}\n{DEMO}")
    assert named_secret.lines("ACME", tmp_path) == (REAL, DEMO)
    monkeypatch.setattr(named_secret, "_armed", False)  # put back afterwards
    named_secret.arm("prod")
    assert named_secret.lines("ACME", tmp_path) == ()
    (tmp_path / "ACME").write_text(REAL)
    assert named_secret.lines("ACME", tmp_path) == (REAL,)


def test_printed_keys_are_those_of_the_documents() -> None:
    pages = [
        page.read_text("utf-8")
        for page in (Path(__file__).parents[3] / "docs").rglob("*.md")
        if "reference" in str(page)
    ]
    for key in PRINTED:
        assert any(key in page for page in pages)


DOCUMENT = """
down_channels: [{channel_no: acme, channel_name: Acme, auth_mode: hmac2, secret_name: ACME}]
suppliers: [{channel_no: up, service_class: 10, request_url: "https://1.1.1.1/x", secret_name: ACME,
  error_codes: [{error_code: A, deal_code: 0}, {error_code: B, deal_code: 10},
    {error_code: C, deal_code: 90}]}]
pay_mode_templates: [{template_id: T, name: T, online: true, secret_name: SHOUDAN_COMPONENT_ACME}]
"""


class Prod:
    """Services in the prod profile; the secret they are given is what `keys` holds now."""

    def __init__(self, home: Path, new_database: Databases) -> None:
        self._home, self._new_database = home, new_database
        self.keys = home / "keys"
        self.keys.mkdir()
        self._children: list[Child] = []

    def write(self, key: str) -> None:
        for name in ("ACME", "SHOUDAN_COMPONENT_ACME"):
            (self.keys / name).write_text(key)

    async def start(self, name: str) -> aio.Channel:
        """A service; a channel to it with the certificate of its operators' commands."""
        port, log = free_port(), self._home / f"{name}.log"
        env = (
            own()
            | filled_in(name, made_secrets(self._home))
            | {
                f"SHOUDAN_{name.upper()}_DATABASE_URL": (await self._new_database(name)).service,
                "SHOUDAN_LISTEN_HOST": "127.0.0.1",
                "SHOUDAN_LISTEN_PORT": str(port),
                "SHOUDAN_OPS_PORT": "0",
                "SHOUDAN_NATS_URL": "",
                "SHOUDAN_SECRETS_DIR": str(self.keys),
                "SHOUDAN_SECRET_ACME_FILE": str(self.keys / "ACME"),
            }
        )
        place = folder_of_certificates(name).parent / "cli" / "current"
        files = Files(place / "tls.crt", place / "tls.key", place / "ca.crt")
        self._children.append(Child.spawn([*COMMAND, name, "--roles", "rpc"], env=env, output=log))
        channel = connect(f"127.0.0.1:{port}", name, Identity(files))
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def up() -> bool:
            with suppress(aio.AioRpcError):
                return bool(await stub.Check(health_pb2.HealthCheckRequest(), timeout=3))
            return False

        try:
            await eventually(up, 60, every_s=0.1)
        except AssertionError:
            raise AssertionError(tail(log)) from None
        return channel

    async def stop(self) -> None:
        for one in self._children:
            await one.stop()


@pytest.fixture
async def prod(new_database: Databases, tmp_path: Path) -> AsyncIterator[Prod]:
    made = Prod(tmp_path, new_database)
    made.write(REAL)
    yield made
    await made.stop()


def calls(document: Document) -> dict[str, list[tuple[Any, str, Any]]]:
    """Everything by which a configuration names a secret, by service."""
    domain = {"role": platform.ROLE_PARTNER, "domain_id": "d", "merchant_uuid": "m"}
    app = {"app_id": "a", "merchant_uuid": "m", "mid": "1", "tid": "1"}
    return {
        "order": [
            (
                catalogue_grpc.CatalogueServiceStub,
                "ApplyCatalogue",
                catalogue.ApplyCatalogueRequest(
                    catalogue=catalogue_of(document), by="t", dry_run=True
                ),
            )
        ],
        "delivery": [
            (
                delivery_grpc.SupplierServiceStub,
                "ApplySuppliers",
                delivery.ApplySuppliersRequest(suppliers=suppliers_of(document)),
            )
        ],
        "pay": [
            (
                setup_grpc.SetupServiceStub,
                "ApplySetup",
                setup.ApplySetupRequest(templates=templates_of(document), by="t"),
            ),
            (
                platform_grpc.PlatformServiceStub,
                "SetDomain",
                platform.SetDomainRequest(domain=platform.Domain(**domain, secret_name="ACME")),
            ),
            (
                platform_grpc.PlatformServiceStub,
                "SetUmsApp",
                platform.SetUmsAppRequest(app=platform.UmsApp(**app, secret_name="ACME")),
            ),
        ],
    }


@pytest.mark.timeout(180)  # a process starts, on a machine that may be busy
@pytest.mark.parametrize("name", ["order", "delivery", "pay"])
async def test_a_configuration_that_names_a_demo_secret_is_refused_in_prod(
    name: str, prod: Prod
) -> None:
    async with await prod.start(name) as channel:
        for stub, rpc, message in calls(parse(DOCUMENT, "x.yaml", {}))[name]:
            method = getattr(stub(channel), rpc)
            prod.write(DEMO)
            with pytest.raises(aio.AioRpcError) as refused:
                await method(message, timeout=20)
            assert refused.value.code() == StatusCode.INVALID_ARGUMENT
            assert named_secret.REFUSED in (refused.value.details() or "")
            prod.write(REAL)
            await method(message, timeout=20)
