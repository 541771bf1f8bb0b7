"""What `shoudan login` keeps: the tokens of each system, in files that their owner alone may read."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from shoudan_cli.clients import Clients, ClientSettings, Failed
from shoudan_cli.systems import Answer, answering
from shoudan_kit.rpc.command import identity_of

ACCESS_VARIABLE: Final = "SHOUDAN_ACCESS_TOKEN"
API_VARIABLE: Final = "SHOUDAN_API_TOKEN"
SPARE_S: Final = 30  # an access token is renewed so long before it expires
FILE_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Login:
    """One operator at one system."""

    name: str
    device: str
    access_token: str = ""
    expires_s: float = 0.0
    refresh_token: str = ""
    session_id: int = 0

    @classmethod
    def of(cls, name: str, device: str, tokens: Any) -> Login:
        """What an answer of the identity service gives."""
        return cls(
            name,
            device,
            tokens.access_token,
            float(tokens.access_expire_time.seconds),
            tokens.refresh_token,
            tokens.session_id,
        )

    def out(self) -> Login:
        """Without tokens; the device stays known."""
        return Login(self.name, self.device)


async def identity_answer(found: ClientSettings) -> Answer | None:
    """What the identity service of a system answers with; None when it is away."""
    return await answering(found.identity_target, "identity", identity_of(found))


async def context_of(found: ClientSettings) -> str:
    """What a login belongs to: the id of the system that answers, else where its identity listens."""
    answer = await identity_answer(found)
    return answer.id if answer is not None and answer.id else found.identity_target


def place_of(context: str) -> Path:
    """The file of a system's login."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = sha256(context.encode()).hexdigest()[:16]
    return Path(base) / "shoudan" / "logins" / f"{name}.json"


def read(context: str) -> Login | None:
    """Who is, or was last, logged in there."""
    try:
        with place_of(context).open("rb") as file:
            document: Mapping[str, Any] = json.loads(file.read(FILE_BYTES_MAX))
        return Login(**document)
    except (OSError, ValueError, TypeError):
        return None


def write(context: str, login: Login) -> None:
    """Keep it, whole or not at all."""
    place = place_of(context)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = place.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(login), file)
    fresh.replace(place)


async def access_token(clients: Clients, context: str) -> str:
    """The token that the next call sends; empty without a login. Raises Failed when it cannot be renewed.

    A token or an API token of the environment goes before the login.
    """
    if given := os.environ.get(ACCESS_VARIABLE):
        return given
    if api_token := os.environ.get(API_VARIABLE):
        return await _exchanged(clients, api_token)
    login = read(context)
    if login is None or not login.access_token:
        return ""
    if login.expires_s - SPARE_S > time.time() or not login.refresh_token:
        return login.access_token
    with _alone(context):  # two commands at once renew once
        login = read(context) or login
        if login.expires_s - SPARE_S > time.time():
            return login.access_token
        return await _renewed(clients, context, login)


async def _renewed(clients: Clients, context: str, login: Login) -> str:
    from shoudan.identity.v1 import identity_service_pb2 as pb
    from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

    request = pb.RefreshRequest(refresh_token=login.refresh_token)
    try:
        answer = await clients.call("identity", IdentityServiceStub, "Refresh", request)
    except Failed as error:
        if error.refused is None and login.expires_s > time.time():
            return login.access_token  # identity is away: what is left of the token is good
        raise
    fresh = Login.of(login.name, login.device, answer.tokens)
    write(context, replace(fresh, device=login.device))
    return fresh.access_token


async def _exchanged(clients: Clients, api_token: str) -> str:
    from shoudan.identity.v1 import identity_service_pb2 as pb
    from shoudan.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

    request = pb.ExchangeApiTokenRequest(api_token=api_token)
    answer = await clients.call("identity", IdentityServiceStub, "ExchangeApiToken", request)
    return answer.access_token


@contextmanager
def _alone(context: str) -> Generator[None]:
    place = place_of(context).with_suffix(".lock")
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield
