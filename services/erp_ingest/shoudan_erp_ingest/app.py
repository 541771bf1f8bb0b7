"""ERP ingest's composition root."""

from __future__ import annotations

from functools import partial
from typing import Final

from shoudan.erp.v1 import erp_service_pb2_grpc as pb_grpc
from shoudan_erp_ingest.config import ErpSettings
from shoudan_erp_ingest.context import Context
from shoudan_erp_ingest.credential_kinds import KINDS
from shoudan_erp_ingest.documents import Documents
from shoudan_erp_ingest.ingest import Ingest
from shoudan_erp_ingest.open_work import Quarantined
from shoudan_erp_ingest.quarantine import Quarantine, Retention
from shoudan_erp_ingest.rpc.erp import ErpServicer
from shoudan_erp_ingest.senders import Senders
from shoudan_erp_ingest.store.sealed import SEALED
from shoudan_erp_ingest.subjects import Subjects
from shoudan_erp_ingest.tables.schema import APPEND_ONLY, METADATA
from shoudan_kit.credentials.book import Credentials
from shoudan_kit.db.schema import Schema
from shoudan_kit.secrets.reseal import SealedData
from shoudan_kit.service import App, Running, Service

NAME: Final = "erp_ingest"
SERVICE_NAME: Final = "shoudan.erp.v1.ErpService"


def compose(app: App[ErpSettings]) -> Context:
    """The parts of one process, tied together."""
    settings = app.settings
    ring = settings.key_ring()
    credentials = app.once(
        Credentials, lambda: Credentials(app, KINDS, ring, "shoudan.events.erp.")
    )
    ingest = Ingest(app.work, app.ids.next, ring, Senders(settings, credentials.live))
    return Context(
        app,
        ring,
        credentials,
        ingest,
        Documents(app.db, ring),
        Subjects(app.work, app.ids.next, ring),
        Quarantine(app.db, ingest, ring),
        Retention(app.db, app.clock, settings.raw_keep_days, settings.raw_clear_s),
    )


async def start(app: App[ErpSettings]) -> Running:
    """Serve the RPCs; the process with the tasks also forgets raw pushes whose time is over."""
    context = compose(app)
    is_first = app.first is app
    if is_first:
        await context.credentials.open()
    return Running(
        context=context,
        registers=(partial(pb_grpc.add_ErpServiceServicer_to_server, ErpServicer(context)),),
        names=(SERVICE_NAME,),
        credentials=context.credentials if is_first else None,
        sealed=SealedData(context.ring, SEALED),
        open_work=(Quarantined(app, context.quarantine),),
        background=(context.retention.run,) if "tasks" in app.roles else (),
    )


KEYS = (
    "SELECT DISTINCT sender FROM push",
    "SELECT DISTINCT customerid FROM trade",
    "SELECT DISTINCT app_key FROM refund",
)
SERVICE = Service(
    name=NAME,
    settings=ErpSettings,
    start=start,
    schema=Schema("shoudan_erp_ingest", METADATA, APPEND_ONLY, keys=KEYS),
)
