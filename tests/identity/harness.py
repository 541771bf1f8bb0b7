"""An identity service inside the test's own loop, and operators to log in."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from grpc import aio
from pyotp.hotp import HOTP

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1 import identity_service_pb2_grpc as stubs
from shoudan_identity import bootstrap
from shoudan_identity.app import SERVICE
from shoudan_identity.config import IdentitySettings
from shoudan_identity.context import Context
from shoudan_identity.logins import Credentials
from shoudan_kit.config import Secret
from shoudan_kit.embedded import DatabaseUrls
from shoudan_kit.rpc.refusal import Refused, refused_from_rpc
from shoudan_kit.service import Process

SYSTEM = "test-system"
PASSWORD = "correct horse battery"
STEP_S = 30


def settings(urls: DatabaseUrls, **more: Any) -> IdentitySettings:
    """Settings of a test's service on any free port."""
    given = {"system_id": SYSTEM, "listen_port": 0, "profile": "test", **more}
    return IdentitySettings(database_url=Secret(urls.service), **given)


@dataclass
class Person:
    """An operator as it knows itself: what it types and what its device keeps."""

    name: str
    password: str = PASSWORD
    secret: str = ""
    device: str = ""
    tokens: Any = None
    recovery: list[str] = field(default_factory=list[str])

    @property
    def auth(self) -> tuple[tuple[str, str], ...]:
        """The metadata of its calls."""
        return (("authorization", f"Bearer {self.tokens.access_token}"),)


@dataclass
class IdentityHarness:
    """The service of one test."""

    process: Process[IdentitySettings]
    stub: stubs.IdentityServiceStub
    urls: DatabaseUrls
    steps: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def context(self) -> Context:
        return self.process.running.context

    def code(self, person: Person) -> str:
        """A code of its authenticator that was not used before, whatever the time is: the last one's
        step is taken back first."""
        return HOTP(person.secret).at(int(self.context.app.clock.now().timestamp()) // STEP_S)

    async def sql(self, query: str, *values: Any) -> list[Any]:
        """A statement as the owner of the tables."""
        db = await asyncpg.connect(self.urls.owner.replace("+asyncpg", ""))
        try:
            return await db.fetch(query, *values)
        finally:
            await db.close()

    async def forget_codes(self, person: Person) -> None:
        """As if the last code had been used long ago: a test has no time to wait for the next."""
        await self.sql("UPDATE operator SET totp_step = 0 WHERE name = $1", person.name)

    async def reasons(self, action: str) -> list[str]:
        """Why what was refused was, "done" for the rest."""
        rows = await self.audit(action)
        assert all((row["outcome"] == "done") == ("why" not in row["after"]) for row in rows)
        return [json.loads(row["after"] or "{}").get("why", "done") for row in rows]

    async def audit(self, action: str) -> list[Any]:
        """Rows of the audit log, oldest first."""
        query = "SELECT * FROM audit_log WHERE action = $1 ORDER BY id"
        return await self.sql(query, action)

    async def login(self, person: Person, **more: Any) -> pb.LoginResponse:
        """Log in as a person; its tokens and device are kept."""
        given = {"name": person.name, "password": person.password, "device": person.device, **more}
        if person.secret and "totp" not in more:
            await self.forget_codes(person)
            given["totp"] = self.code(person)
        done = await self.stub.Login(pb.LoginRequest(**given))
        person.tokens, person.device = done.tokens, done.device
        return done

    async def enrol(self, person: Person) -> None:
        """Give a logged-in person an authenticator."""
        made = await self.stub.EnrolTotp(pb.EnrolTotpRequest(), metadata=person.auth)
        person.secret = made.secret
        request = pb.ConfirmTotpRequest(code=self.code(person))
        done = await self.stub.ConfirmTotp(request, metadata=person.auth)
        person.tokens, person.device = done.tokens, done.device
        person.recovery = list(done.recovery_codes)

    async def admin(self) -> Person:
        """The first admin, logged in with everything it needs."""
        password = await bootstrap.first_admin(self.context)
        assert password is not None
        person = Person("admin")
        await self.login(person, password=password, new_password=PASSWORD)
        await self.enrol(person)
        return person

    async def person(self, admin: Person, name: str, *roles: str) -> Person:
        """A new operator, logged in, with an authenticator when its roles need one."""
        request = pb.CreateOperatorRequest(name=name, roles=roles)
        made = await self.stub.CreateOperator(request, metadata=admin.auth)
        person = Person(name)
        done = await self.login(person, password=made.one_time_password, new_password=PASSWORD)
        if done.totp_enrolment_required:
            await self.enrol(person)
        return person

    def from_(self, address: str, person: Person, **more: Any) -> Credentials:
        """What a person gives from another address."""
        return Credentials(
            **{
                "name": person.name,
                "password": person.password,
                "device": person.device,
                "address": address,
                **more,
            }
        )


async def refusal(call: Any) -> Refused:
    """The refusal a call ends with."""
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    refused = refused_from_rpc(caught.value)
    assert refused is not None, caught.value
    return refused


async def reason(call: Any) -> str:
    """Its reason without the prefix."""
    return (await refusal(call)).reason.removeprefix("ERROR_REASON_")


@asynccontextmanager
async def open_desk(urls: DatabaseUrls, **more: Any) -> AsyncIterator[IdentityHarness]:
    """A started service."""
    process: Process[IdentitySettings] = Process(SERVICE, settings(urls, **more))
    await process.start()
    async with aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        yield IdentityHarness(process, stubs.IdentityServiceStub(channel), urls)
    await process.stop()


def seconds(stamp: Any) -> datetime:
    """A timestamp of a message."""
    from datetime import UTC

    return stamp.ToDatetime(UTC)
