"""EndpointService: how the endpoints of a channel do, pausing and testing them, sending again."""

from __future__ import annotations

from typing import Any, Final

from shoudan.order.v1 import endpoint_service_pb2 as pb
from shoudan.order.v1 import endpoint_service_pb2_grpc as grpc_pb
from shoudan_kit.ids import id_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded
from shoudan_order import endpoints
from shoudan_order.context import Context
from shoudan_order.endpoints import Shown
from shoudan_order.refusals import FieldInvalid
from shoudan_order.rpc.messages import KEY_CHARS_MAX, call_nonce, filled, text_problem
from shoudan_order.store.nonces import CallNonce

PAGE_MAX: Final = 100
IDS_MAX: Final = 1_000
BY_CHARS_MAX: Final = 64
REASON_CHARS_MAX: Final = 256
LAST: Final = 2**63 - 1


class EndpointServicer(grpc_pb.EndpointServiceServicer):
    """The calls of EndpointService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: RpcContext
    ) -> pb.ListEndpointsResponse:
        """By number."""
        _texts(("channel_no", request.channel_no, 1, KEY_CHARS_MAX))
        found = await endpoints.of_channel(self._context, request.channel_no)
        return pb.ListEndpointsResponse(endpoints=[self._endpoint(one) for one in found])

    async def ListEndpointNotifies(
        self, request: pb.ListEndpointNotifiesRequest, context: RpcContext
    ) -> pb.ListEndpointNotifiesResponse:
        """Newest first."""
        endpoint, _ = self._found(request)
        if request.page_size < 0:
            raise FieldInvalid("page_size", f"0 to {PAGE_MAX}")
        before = id_of(request.page_token) if request.page_token else LAST
        if before is None:
            raise FieldInvalid("page_token", "not given by the page before")
        most = min(request.page_size or PAGE_MAX, PAGE_MAX)
        found, token = await endpoints.notifies(
            self._context, endpoint.endpoint_no, before, most, given_up=request.given_up
        )
        return pb.ListEndpointNotifiesResponse(
            notifies=[filled(pb.EndpointNotify, one) for one in found], next_page_token=token
        )

    async def SetEndpointState(
        self, request: pb.SetEndpointStateRequest, context: RpcContext
    ) -> pb.SetEndpointStateResponse:
        """Paused, or active again."""
        endpoint, _ = self._found(request)
        by = _by(request)
        _texts(("reason", request.reason, 0, REASON_CHARS_MAX))
        setting = endpoints.set_state(
            self._context,
            endpoint,
            (by, request.reason),
            _nonce(request),
            paused=request.paused,
        )
        shown, changed = await shielded(setting)
        return pb.SetEndpointStateResponse(endpoint=self._endpoint(shown), changed=changed)

    async def TestEndpoint(
        self, request: pb.TestEndpointRequest, context: RpcContext
    ) -> pb.TestEndpointResponse:
        """Once."""
        endpoint, channel = self._found(request)
        testing = endpoints.test(self._context, endpoint, channel, _nonce(request))
        return filled(pb.TestEndpointResponse, await testing)

    async def ResendEndpointNotifies(
        self, request: pb.ResendEndpointNotifiesRequest, context: RpcContext
    ) -> pb.ResendEndpointNotifiesResponse:
        """Three attempts more."""
        endpoint, _ = self._found(request)
        if len(request.notify_ids) > IDS_MAX:
            raise FieldInvalid("notify_ids", f"at most {IDS_MAX}")
        ids, by = list(request.notify_ids), _by(request)
        sending = endpoints.resend(self._context, endpoint, ids, by, _nonce(request))
        return pb.ResendEndpointNotifiesResponse(count=await shielded(sending))

    def _found(self, request: Any) -> Any:
        _texts(
            ("channel_no", request.channel_no, 1, KEY_CHARS_MAX),
            ("endpoint_no", request.endpoint_no, 1, KEY_CHARS_MAX),
        )
        return endpoints.find(self._context, request.channel_no, request.endpoint_no)

    def _endpoint(self, one: Shown) -> pb.Endpoint:
        health = one.health
        return filled(
            pb.Endpoint,
            one.health,
            url=one.endpoint.url,
            events=one.endpoint.events,
            body_version=one.endpoint.body_version,
            enabled=one.endpoint.enabled,
            fails_max=self._context.settings.endpoint_fails_max,
            recent_sent=len(health.recent),
            recent_acknowledged=health.recent.count("1"),
            given_up_count=one.given_up_count,
        )


def _texts(*texts: tuple[str, str, int, int]) -> None:
    if problem := text_problem(texts, ""):
        raise problem


def _by(request: Any) -> str:
    """Who: a person by name, or the channel itself."""
    _texts(("by", request.by, 0, BY_CHARS_MAX))
    return str(request.by) or f"channel {request.channel_no}"


def _nonce(request: Any) -> CallNonce | None:
    nonce = call_nonce(request.channel_no, request.nonce)
    if isinstance(nonce, FieldInvalid):
        raise nonce
    return nonce
