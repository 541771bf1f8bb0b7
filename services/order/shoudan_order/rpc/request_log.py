"""RequestLogService: what partners called, stored in blocks and read request by request."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.order.v1 import request_log_service_pb2 as pb
from shoudan.order.v1 import request_log_service_pb2_grpc as grpc_pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_order import request_log
from shoudan_order.context import Context
from shoudan_order.refusals import FieldInvalid
from shoudan_order.request_log import Request, Wanted
from shoudan_order.rpc.messages import KEY_CHARS_MAX, filled, text_problem
from shoudan_order.store.request_log import Block, Call

BLOCKS_MAX: Final = 1_000
RECORDS_MAX: Final = 2_000
DATA_BYTES_MAX: Final = 2**20
PARTY_CHARS_MAX: Final = 80
CALLS_MAX: Final = 500
CALL_CHARS_MAX: Final = 128
USAGE_DEFAULT: Final = 500
USAGE_MAX: Final = 1_000
USAGE_TOKEN_CHARS_MAX: Final = 4 * CALL_CHARS_MAX
PLACE_PARTS: Final = 4
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
TOKEN_CHARS_MAX: Final = 32
AT_DIGITS_MAX: Final = 6
ID_MAX: Final = 2**63 - 1
PERIOD_MAX: Final = timedelta(days=31)
FIRST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class RequestLogServicer(grpc_pb.RequestLogServiceServicer):
    """The calls of RequestLogService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def StoreRequestBlocks(
        self, request: pb.StoreRequestBlocksRequest, context: RpcContext
    ) -> pb.StoreRequestBlocksResponse:
        """All of them, or none."""
        if len(request.blocks) > BLOCKS_MAX:
            raise FieldInvalid("blocks", f"more than {BLOCKS_MAX}")
        blocks = [_block(one) for one in request.blocks]
        if blocks:
            calls = {(one.party, one.block_no): _calls(one) for one in request.blocks}
            await request_log.keep(self._context, blocks, calls)
        return pb.StoreRequestBlocksResponse()

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: RpcContext
    ) -> pb.ListRequestsResponse:
        """In the order of their blocks."""
        found = await request_log.page(self._context, _wanted(request))
        return pb.ListRequestsResponse(
            requests=[_message(one) for one in found.requests],
            next_page_token=f"{found.block_no}-{found.at}" if found.block_no else "",
            lost_count=found.lost_count,
        )

    async def ListUsage(
        self, request: pb.ListUsageRequest, context: RpcContext
    ) -> pb.ListUsageResponse:
        """By party, protocol, call and version."""
        if problem := text_problem((("party", request.party, 0, PARTY_CHARS_MAX),), ""):
            raise problem
        if not 1 <= request.days <= request_log.USAGE_DAYS:
            raise FieldInvalid("days", f"1 to {request_log.USAGE_DAYS}")
        if request.page_size < 0:
            raise FieldInvalid("page_size", f"0 to {USAGE_MAX}")
        most = min(request.page_size or USAGE_DEFAULT, USAGE_MAX)
        after = _place(request.page_token)
        found = await request_log.usage(self._context, request.party, request.days, after, most)
        return pb.ListUsageResponse(
            usage=[filled(pb.Usage, one, last_day=one.last_day.isoformat()) for one in found],
            next_page_token="\t".join(found[-1].place) if len(found) == most else "",
        )


def _place(token: str) -> tuple[str, str, str, str]:
    """Behind which the page begins. Refuses FieldInvalid."""
    if not token:
        return "", "", "", ""
    parts = token.split("\t")
    if len(parts) != PLACE_PARTS or len(token) > USAGE_TOKEN_CHARS_MAX or "\0" in token:
        raise FieldInvalid("page_token", "not given by the page before")
    return parts[0], parts[1], parts[2], parts[3]


def _calls(one: pb.RequestBlock) -> Counter[Call]:
    """What was called in a block. Refuses FieldInvalid."""
    if len(one.calls) > CALLS_MAX:
        raise FieldInvalid("calls", f"at most {CALLS_MAX}")
    counts: Counter[Call] = Counter()
    for call in one.calls:
        texts = tuple(
            (name, getattr(call, name), 1, CALL_CHARS_MAX)
            for name in ("protocol", "call", "version")
        )
        if problem := text_problem(texts, ""):
            raise problem
        if not 1 <= call.count <= RECORDS_MAX:
            raise FieldInvalid("count", f"1 to {RECORDS_MAX}")
        counts[call.protocol, call.call, call.version] += call.count
    return counts


def _block(one: pb.RequestBlock) -> Block:
    if problem := text_problem((("party", one.party, 0, PARTY_CHARS_MAX),), ""):
        raise problem
    if one.block_no < 1 or not 0 <= one.record_count <= RECORDS_MAX or one.lost_count < 0:
        raise FieldInvalid("blocks", "a number above zero, and counts")
    if len(one.data) > DATA_BYTES_MAX:
        raise FieldInvalid("data", f"at most {DATA_BYTES_MAX} bytes")
    return Block(one.party, one.block_no, one.record_count, one.lost_count, one.data)


def _wanted(request: pb.ListRequestsRequest) -> Wanted:
    texts = (
        ("party", request.party, 0, PARTY_CHARS_MAX),
        ("request_id", request.request_id, 0, KEY_CHARS_MAX),
    )
    if problem := text_problem(texts, ""):
        raise problem
    start = _moment("start_time", request.start_time)
    end = _moment("end_time", request.end_time)
    if not timedelta() < end - start <= PERIOD_MAX:
        raise FieldInvalid("end_time", f"after start_time, at most {PERIOD_MAX.days} days")
    if request.page_size < 0:
        raise FieldInvalid("page_size", f"0 to {PAGE_MAX}")
    block_no, at = _token(request.page_token)
    return Wanted(
        request.party,
        (start - _EPOCH) // _MILLISECOND,
        (end - _EPOCH) // _MILLISECOND,
        request.request_id,
        request.failed,
        min(request.page_size or PAGE_DEFAULT, PAGE_MAX),
        block_no,
        at,
    )


def _moment(name: str, given: Timestamp) -> datetime:
    """A moment that was given: without one it is 1970."""
    moment = given.ToDatetime(UTC)
    if not FIRST <= moment <= LAST:
        raise FieldInvalid(name, f"from {FIRST.year} to {LAST.year}")
    return moment


def _token(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    block_no, _, at = text.partition("-")
    digits = len(text) <= TOKEN_CHARS_MAX and text.isascii() and block_no.isdecimal()
    if not digits or not at.isdecimal() or len(at) > AT_DIGITS_MAX or int(block_no) > ID_MAX:
        raise FieldInvalid("page_token", "not given by the page before")
    return int(block_no), int(at)


def _message(one: Request) -> pb.LoggedRequest:
    time = Timestamp()
    time.FromDatetime(one.time)
    return pb.LoggedRequest(
        time=time,
        request_id=one.id,
        method=one.m,
        path=one.p,
        http_status=one.s,
        error_code=one.c,
        took_ms=one.ms,
        remote_ip=one.ip,
        admitted=one.ok,
        params=one.q,
    )
