"""AlertService: messages to values and back."""

from __future__ import annotations

import re
from typing import Final

from shoudan.finance.v1 import alert_service_pb2 as pb
from shoudan.finance.v1 import alert_service_pb2_grpc as pb_grpc
from shoudan_finance import alerts
from shoudan_finance.alert_targets import PARTNER
from shoudan_finance.context import Context
from shoudan_finance.refusals import FieldInvalid
from shoudan_finance.rpc.reading import page_size
from shoudan_finance.store.alerts import Route, RouteKey
from shoudan_finance.tables.alerts import TARGET_MAX
from shoudan_kit.rpc.messages import RpcContext, filled

CHANNEL_MAX: Final = 64
BEFORE_ALL: Final = RouteKey(0, 0, "")
_TOKEN: Final = re.compile(r"([0-9]{1,18})\.(-?[0-9]{1,18})\.([a-z0-9-]{1,32})", re.ASCII)


class AlertServicer(pb_grpc.AlertServiceServicer):
    """The calls of AlertService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListTargets(
        self, request: pb.ListTargetsRequest, context: RpcContext
    ) -> pb.ListTargetsResponse:
        """As the settings have them."""
        found = self._context.targets.values()
        return pb.ListTargetsResponse(
            targets=[pb.Target(name=one.name, kind=one.kind, groups=one.groups) for one in found]
        )

    async def ListSent(
        self, request: pb.ListSentRequest, context: RpcContext
    ) -> pb.ListSentResponse:
        """By account, threshold and target."""
        most, after = page_size(request.page_size), _after(request.page_token)
        found = await alerts.page(self._context, after, most + 1)
        token = _token(found[most - 1]) if len(found) > most else ""
        sent = [filled(pb.Sent, one) for one in found[:most]]
        return pb.ListSentResponse(sent=sent, next_page_token=token)

    async def TestTarget(
        self, request: pb.TestTargetRequest, context: RpcContext
    ) -> pb.TestTargetResponse:
        """Sent at once."""
        if not 0 < len(request.target) <= TARGET_MAX:
            raise FieldInvalid("target", f"1 to {TARGET_MAX} characters")
        no = request.channel_no
        if len(no) > CHANNEL_MAX or (request.target == PARTNER) != bool(no) or "\0" in no:
            raise FieldInvalid("channel_no", f"belongs to {PARTNER}, 1 to {CHANNEL_MAX} characters")
        answer = await alerts.test(self._context, request.target, no)
        return pb.TestTargetResponse(acknowledged=not answer, answer=answer)


def _after(token: str) -> RouteKey:
    found = _TOKEN.fullmatch(token)
    if token and found is None:
        raise FieldInvalid("page_token", "not given by the page before")
    return BEFORE_ALL if found is None else RouteKey(int(found[1]), int(found[2]), found[3])


def _token(one: Route) -> str:
    return f"{one.account_id}.{one.threshold_micros}.{one.target}"
