"""The log of what partners called: noted in memory, packed and sent off the way of requests.

A request costs one tuple in a bounded list. Every few seconds what was noted is grouped by partner, masked,
compressed in a thread and handed to the order service, which keeps it. What does not fit is lost, counted,
and said in the next block.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from google.protobuf.message import Message

from shoudan.order.v1 import request_log_service_pb2 as pb
from shoudan_gateway.protocol import Call, Inbound, Outbound, Problem, Unary
from shoudan_kit import metrics
from shoudan_kit.log import get_logger
from shoudan_kit.rpc.refusal import Refused

STORE: Final = Unary("shoudan.order.v1.RequestLogService/StoreRequestBlocks")
LOST_TOTAL: Final = metrics.counter(
    "request_log_lost_total", "Requests of partners that are missing in their log.", ("why",)
)
RECORDS_MAX: Final = 2_000  # of one block
# Of callers that were not let in: anyone may name a partner.
STRANGERS_MAX: Final = 200  # of one party and flush
PARTIES_MAX: Final = 1_000  # of one flush; the requests of further ones stand under none
SMALL_BYTES: Final = 8_192  # of query and body whose parameters are noted
PARAMS_MAX: Final = 32
VALUE_CHARS_MAX: Final = 64
PATH_CHARS_MAX: Final = 128
BLOCK_BYTES_MAX: Final = 2**20
CALL_BYTES_MAX: Final = 2 * 2**20  # of one call
UNSENT_BYTES_MAX: Final = 16 * 2**20  # that wait for the order service
SHIFT: Final = 20  # of the random bits in a block's number
NOTHING: Final[Mapping[str, str]] = {}

# Parameters whose values are noted: numbers that partners and we give things, and what is asked for.
SHOWN: Final = frozenset(
    {
        "amount", "bill_date", "carrier_no", "channel_no", "city_no", "confirm_repeat", "end_time",
        "endpoint_no", "face", "failed", "given_up", "invoice_type", "line_id", "max_amount",
        "notify_id", "num", "page", "page_size", "paused", "province_no", "refund_no", "refund_num",
        "request_id", "request_no", "sign_type", "since", "start_time", "timestamp",
    }
)  # fmt: skip
ACCOUNTS: Final = frozenset({"rechage_account", "recharge_account"})
URL: Final = "notify_url"

_log = get_logger("gateway.request_log")
_encode = msgspec.json.Encoder().encode

Ask = Callable[[Call, Message], Awaitable[Any]]
Known = Callable[[str], bool]


class Noted(NamedTuple):
    """What is kept of a request until it is packed."""

    at: float
    request_id: str
    method: str
    path: str
    path_params: Mapping[str, str]
    params: Mapping[str, str]
    channel_no: str  # of a channel that was let in
    merchant: str
    remote: str
    status: int
    error_headers: Mapping[str, str] | None
    seconds: float
    called: tuple[str, str] = ("", "")  # protocol, and path of the call
    version: str = ""


@dataclass(frozen=True, slots=True)
class _Block:
    """A block and what it holds, until it is stored."""

    message: pb.RequestBlock
    size: int
    flush_no: int
    shared: int  # of the lost ones: what all blocks of the flush say, whosever they are


class RequestLog:
    """Takes notes, and hands them on for as long as `run` runs."""

    def __init__(self, ask: Ask, known: Known, flush_s: float, waiting_max: int) -> None:
        """`known`: whether a channel of this number exists. `waiting_max`: requests noted at once."""
        self._ask, self._known = ask, known
        self._flush_s, self._waiting_max = flush_s, waiting_max
        self._noted: list[Noted] = []
        self._no_room = 0
        self._lost = 0  # in blocks; no block says it yet
        self._flush_no = 0
        self._shared_again = 0  # the last flush of which lost blocks were counted
        self._unsent: list[_Block] = []
        self._packing = asyncio.Lock()

    def note(
        self,
        inbound: Inbound,
        answer: Outbound,
        request_id: str,
        seconds: float,
        called: tuple[str, str] = ("", ""),
    ) -> None:
        """Keep a request until the next flush; count it where there is no room.

        `called`: protocol, and path of the call.
        """
        if len(self._noted) >= self._waiting_max:
            self._no_room += 1
            return
        small = len(inbound.query) + len(inbound.body) <= SMALL_BYTES
        self._noted.append(
            Noted(
                time.time(),
                request_id,
                inbound.method,
                inbound.path,
                inbound.path_params,
                inbound.params if small else NOTHING,
                inbound.channel.channel_no if inbound.channel is not None else "",
                inbound.caller.merchant_uuid if inbound.caller is not None else "",
                inbound.remote,
                answer.status,
                answer.error_headers,
                seconds,
                called,
                inbound.version,
            )
        )

    async def run(self) -> None:
        """Flush again and again, for ever."""
        while True:
            await asyncio.sleep(self._flush_s)
            await self.flush()

    async def flush(self) -> None:
        """Pack what was noted and send all that is packed; what cannot be sent waits, bounded."""
        async with self._packing:
            noted, self._noted = self._noted, []
            no_room, self._no_room = self._no_room, 0
            lost, self._lost = self._lost + no_room, 0
            if no_room:
                LOST_TOTAL("buffer").inc(no_room)
                _log.warning("requests_not_logged", why="buffer", count=no_room)
            if noted or lost:
                parties = _by_party(noted, self._known)
                self._flush_no += 1
                self._unsent += await asyncio.to_thread(_packed, parties, lost, self._flush_no)
            self._drop_oldest()
            while self._unsent and await self._send():
                pass

    async def _send(self) -> bool:
        """Send the oldest blocks; whether they are stored."""
        size, count = 0, 0
        for block in self._unsent:
            if count and size + block.size > CALL_BYTES_MAX:
                break
            size, count = size + block.size, count + 1
        blocks = self._unsent[:count]
        messages = [one.message for one in blocks]
        try:
            await self._ask(STORE, pb.StoreRequestBlocksRequest(blocks=messages))
        except Refused as error:
            _log.error("request_blocks_refused", why=str(error))
            self._count_lost(blocks, "refused")
        except Problem:
            return False  # the same blocks again: the order service knows repeats
        del self._unsent[:count]
        return True

    def _drop_oldest(self) -> None:
        size = sum(one.size for one in self._unsent)
        dropped: list[_Block] = []
        while size > UNSENT_BYTES_MAX:
            one = self._unsent.pop(0)
            size -= one.size
            dropped.append(one)
        if dropped:
            self._count_lost(dropped, "unsent")

    def _count_lost(self, blocks: Sequence[_Block], why: str) -> None:
        """Say so in the next blocks, with what these would have said; that once for each flush."""
        count = sum(
            one.message.record_count + one.message.lost_count - one.shared for one in blocks
        )
        again = {
            one.flush_no: one.shared
            for one in blocks
            if one.shared and one.flush_no > self._shared_again
        }
        self._shared_again = max(again, default=self._shared_again)
        LOST_TOTAL(why).inc(count)
        _log.warning("requests_not_logged", why=why, count=count)
        self._lost += count + sum(again.values())


def _by_party(noted: Sequence[Noted], known: Known) -> dict[str, tuple[list[Noted], int]]:
    """What was noted of each party, and how many strangers that named it are left out."""
    found: dict[str, list[Noted]] = {}
    strangers: dict[str, int] = {}
    for one in noted:
        party = party_of(one, known)
        if party not in found and len(found) >= PARTIES_MAX:
            party = ""
        if not _admitted(one):
            strangers[party] = strangers.get(party, 0) + 1
            if strangers[party] > STRANGERS_MAX:
                continue
        found.setdefault(party, []).append(one)
    return {
        party: (there, max(0, strangers.get(party, 0) - STRANGERS_MAX))
        for party, there in found.items()
    }


def party_of(one: Noted, known: Known) -> str:
    """Whose log a request belongs in; one that names a channel of ours is in its log, let in or not."""
    if one.merchant:
        return f"merchant {one.merchant}"
    if one.channel_no and known(one.channel_no):
        return f"channel {one.channel_no}"
    named = one.params.get("channel_no", "")[:VALUE_CHARS_MAX]
    if named and known(named):
        return f"channel {named}"
    supplier = one.path_params.get("channel_no", "")[:VALUE_CHARS_MAX]
    return f"supplier {supplier}" if supplier and supplier.isprintable() else ""


def _admitted(one: Noted) -> bool:
    return bool(one.channel_no or one.merchant)


def _packed(
    parties: Mapping[str, tuple[Sequence[Noted], int]], lost: int, flush_no: int
) -> list[_Block]:
    """Blocks of all parties, compressed; the first of each says what was lost. Runs in a thread."""
    blocks: list[_Block] = []
    for party, (noted, strangers) in parties.items():
        says = (lost + strangers, lost)
        for start in range(0, len(noted), RECORDS_MAX):
            for text, part in _texts(noted[start : start + RECORDS_MAX]):
                blocks.append(_block((party, flush_no), part, text, says, part[-1].at))
                says = (0, 0)
    if lost and not blocks:
        blocks.append(_block(("", flush_no), [], zlib.compress(b"[]"), (lost, lost), time.time()))
    return blocks


def _texts(noted: Sequence[Noted]) -> Iterator[tuple[bytes, Sequence[Noted]]]:
    """Records as they are stored, whole or in halves of what is too large for one block."""
    text = zlib.compress(_encode([record(one) for one in noted]), 6)
    if len(text) <= BLOCK_BYTES_MAX or len(noted) == 1:
        yield text, noted
        return
    half = len(noted) // 2
    yield from _texts(noted[:half])
    yield from _texts(noted[half:])


def _block(
    whose: tuple[str, int], noted: Sequence[Noted], data: bytes, lost: tuple[int, int], last: float
) -> _Block:
    (party, flush_no), (count, shared) = whose, lost
    message = pb.RequestBlock(
        party=party,
        block_no=int(last * 1000) << SHIFT | secrets.randbits(SHIFT),
        record_count=len(noted),
        lost_count=count,
        data=data,
        calls=_calls(noted),
    )
    return _Block(message, message.ByteSize(), flush_no, shared)


def _calls(noted: Sequence[Noted]) -> list[pb.CallCount]:
    """How often callers that were let in made each call, in which version."""
    counts = Counter(
        (*one.called, one.version) for one in noted if _admitted(one) and one.called[0]
    )
    return [
        pb.CallCount(protocol=protocol, call=call, version=version, count=count)
        for (protocol, call, version), count in sorted(counts.items())
    ]


def record(one: Noted) -> dict[str, Any]:
    """A request as it is stored: short names, nothing secret, nothing that names a person."""
    made: dict[str, Any] = {
        "t": int(one.at * 1000),
        "id": one.request_id,
        "m": one.method[:16],
        "p": one.path[:PATH_CHARS_MAX],
        "s": one.status,
        "ms": int(one.seconds * 1000),
        "ip": one.remote,
        "ok": _admitted(one),
    }
    if one.error_headers is not None:
        made["c"] = one.error_headers["X-Error-Code"]
    if one.params:
        names = sorted(one.params)[:PARAMS_MAX]
        made["q"] = {name[:VALUE_CHARS_MAX]: masked(name, one.params[name]) for name in names}
    return made


def masked(name: str, value: str) -> str:
    """A parameter's value as it may be kept."""
    if name in SHOWN:
        return value[:VALUE_CHARS_MAX]
    if name in ACCOUNTS:
        return f"{value[:3]}***{value[-2:]}" if len(value) >= 8 else "***"
    if name == URL:
        try:
            parts = urlsplit(value[:2048])
            return f"{parts.scheme}://{parts.hostname or ''}/***"[:VALUE_CHARS_MAX]
        except ValueError:
            return "***"
    return "***"
