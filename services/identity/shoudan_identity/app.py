"""Identity's composition root."""

from __future__ import annotations

from functools import partial
from typing import Final

from shoudan.identity.v1 import identity_service_pb2_grpc as pb_grpc
from shoudan_identity import attempts, bootstrap, housekeeping
from shoudan_identity.config import IdentitySettings
from shoudan_identity.context import Context
from shoudan_identity.passwords import PasswordRoom
from shoudan_identity.provider import Provider
from shoudan_identity.rpc.identity import IdentityServicer
from shoudan_identity.signing_keys import SigningKeys
from shoudan_identity.store.sealed import SEALED
from shoudan_identity.tables.schema import APPEND_ONLY, METADATA
from shoudan_kit.db.schema import Schema
from shoudan_kit.limits.rates import Rates
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.service import App, Running, Service

NAME: Final = "identity"
SERVICE_NAME: Final = "shoudan.identity.v1.IdentityService"


def compose(app: App[IdentitySettings]) -> Context:
    """The parts of one process, tied together."""
    settings = app.settings
    ring, verifier = settings.key_ring(), app.tokens
    return Context(
        app,
        ring,
        verifier,
        SigningKeys(app, ring, verifier),
        PasswordRoom(settings.password_threads, settings.password_waiting_max),
        Rates(attempts.RATE_PER_S, attempts.BURST),
        Rates(attempts.WAIT_ROWS_PER_S, attempts.WAIT_ROWS),
        Provider(settings) if settings.oidc_issuer else None,
    )


async def start(app: App[IdentitySettings]) -> Running:
    """Serve the RPCs; the process with the tasks also rotates keys and deletes what is over."""
    context = compose(app)
    await context.keys.ensure()
    context.room.prepare()
    return Running(
        context=context,
        registers=(
            partial(pb_grpc.add_IdentityServiceServicer_to_server, IdentityServicer(context)),
        ),
        names=(SERVICE_NAME,),
        sealed=SealedData(context.ring, SEALED),
        background=(partial(housekeeping.run, context),) if "tasks" in app.roles else (),
        closers=(context.room.close,),
    )


async def first_admin(app: App[IdentitySettings]) -> str | None:
    """Make the first admin of an empty database; what a person must read, once."""
    context = compose(app)
    password = await bootstrap.first_admin(context)
    await context.room.close()
    if password is None:
        return None
    return f"first operator {bootstrap.NAME}, password for one login: {password}"


SERVICE = Service(
    name=NAME,
    settings=IdentitySettings,
    start=start,
    schema=Schema("shoudan_identity", METADATA, APPEND_ONLY),
    seed=first_admin,
)
