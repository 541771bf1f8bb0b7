"""What the pages of a partner's account share. Whose rows it sees the services judge, by its token."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.core.v1.credential_service_pb2_grpc import CredentialServiceStub
from shoudan.finance.v1.bill_service_pb2_grpc import BillServiceStub
from shoudan.order.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from shoudan.order.v1.channel_service_pb2_grpc import ChannelServiceStub
from shoudan.order.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from shoudan.order.v1.request_log_service_pb2_grpc import RequestLogServiceStub
from shoudan_console.calls import rpc_of
from shoudan_console.lists import Filter, Query, moment_in, today
from shoudan_console.statuses import Known
from shoudan_console.system_time import now
from shoudan_console.values import mark as _
from shoudan_console.visits import Visit

CHANNEL_MAX: Final = 64
PERIOD_DAYS_MAX: Final = 31
DAYS: Final = 7  # shown when no period is asked for


_CHANNEL: Final = ("order", ChannelServiceStub, "order.v1.ChannelService")
_ENDPOINT: Final = ("order", EndpointServiceStub, "order.v1.EndpointService")
_CREDENTIAL: Final = ("order", CredentialServiceStub, "core.v1.CredentialService")
_CATALOGUE: Final = ("order", CatalogueServiceStub, "order.v1.CatalogueService")
_REQUEST_LOG: Final = ("order", RequestLogServiceStub, "order.v1.RequestLogService")
_BILL: Final = ("finance", BillServiceStub, "finance.v1.BillService")

GET_ACCOUNT: Final = rpc_of(*_CHANNEL, "GetChannelAccount")
LIST_ORDERS: Final = rpc_of(*_CHANNEL, "ListChannelOrders")
LIST_REFUNDS: Final = rpc_of(*_CHANNEL, "ListChannelRefunds")
LIST_NOTIFIES: Final = rpc_of(*_CHANNEL, "ListChannelNotifies")
RESEND_NOTIFY: Final = rpc_of(*_CHANNEL, "ResendChannelNotify")
LIST_ENDPOINTS: Final = rpc_of(*_ENDPOINT, "ListEndpoints")
LIST_SENT: Final = rpc_of(*_ENDPOINT, "ListEndpointNotifies")
SET_ENDPOINT: Final = rpc_of(*_ENDPOINT, "SetEndpointState")
TEST_ENDPOINT: Final = rpc_of(*_ENDPOINT, "TestEndpoint")
RESEND_SENT: Final = rpc_of(*_ENDPOINT, "ResendEndpointNotifies")
LIST_REQUESTS: Final = rpc_of(*_REQUEST_LOG, "ListRequests")
LIST_KEYS: Final = rpc_of(*_CREDENTIAL, "ListCredentials")
ROTATE_KEY: Final = rpc_of(*_CREDENTIAL, "RotateCredential")
LIST_PRODUCTS: Final = rpc_of(*_CATALOGUE, "ListProducts")
GET_BILL_LINK: Final = rpc_of(*_BILL, "GetChannelBillLink")
DOWNLOAD_BILL: Final = rpc_of(*_BILL, "DownloadBill")

CHANNEL: Final = Filter("channel", _("Channel"), "own")
# As partners' documents have them: what is paid for and what is delivered are one state to them.
ORDER: Final[Known] = {
    0: (_("Succeeded"), "good"),
    10: (_("In progress"), "busy"),
    20: (_("In progress"), "busy"),
    90: (_("Failed"), "bad"),
    91: (_("Partly succeeded"), "warn"),
}


def channel_of(visit: Visit) -> str:
    """The channel that is asked for, else the account's first."""
    given = visit.form.get("channel", "") or visit.query.get("channel", "")
    return given[:CHANNEL_MAX] or visit.known.channels[0]


def address(visit: Visit, path: str, **query: str) -> str:
    """An address of this entrance, for the same channel."""
    return f"{path}?{urlencode({'channel': channel_of(visit), **query})}"


def stamp(moment: datetime) -> Timestamp:
    """A moment as messages have it."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def period(query: Query) -> tuple[Timestamp, Timestamp]:
    """The period of the filters `from` and `to`: the last week without them, 31 days at most."""
    end = query.moment("to") or now() + timedelta(minutes=1)
    start = query.moment("from") or today() - timedelta(days=DAYS - 1)
    latest = end - timedelta(seconds=1)
    start = min(max(start, end - timedelta(days=PERIOD_DAYS_MAX)), latest)
    return stamp(start), stamp(end)


def moment(text: str) -> datetime | None:
    """A filter's moment."""
    return moment_in(text)
