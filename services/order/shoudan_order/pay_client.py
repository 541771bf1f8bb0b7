"""Calls to the pay service: which accounts a step of an order moves, and what the ledger said.

Source: oms-behaviour §3.9. Sums of zero post nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from grpc import aio

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import ledger_service_pb2_grpc as rpc
from shoudan_kit.money import micros_to_yuan
from shoudan_kit.rpc.client import call_options
from shoudan_kit.rpc.refusal import Refused, refused_from_proto

POSTINGS_MAX: Final = 1_000  # of one PostEntries (ledger_service.proto)
DOMAIN: Final = "pay.shoudan"
TOO_LOW: Final = "ERROR_REASON_BALANCE_TOO_LOW"
DIFFERS: Final = "ERROR_REASON_POSTING_DIFFERS"
LOCKED: Final = "ERROR_REASON_ACCOUNT_LOCKED"

DEDUCT: Final = pb.CHANGE_TYPE_DEDUCT
REFUND: Final = pb.CHANGE_TYPE_REFUND
_ABOUT: Final = {
    ("down", False): pb.ABOUT_ORDER,
    ("down", True): pb.ABOUT_REFUND,
    ("up", False): pb.ABOUT_DELIVERY,
    ("up", True): pb.ABOUT_RETURN,
}
LOSS_MEMO: Final = "亏本"  # begins the memo of what is booked at a loss; finance lists by it
_KINDS: Final = (
    ("channel", pb.TRADE_TYPE_TRADE),
    ("commission", pb.TRADE_TYPE_COMMISSION),
    ("service", pb.TRADE_TYPE_SERVICE),
)


class Posted(msgspec.Struct, frozen=True):
    """A group that is in the ledger. `moved` when money moved: a void of an unused key moves none."""

    moved: bool
    existed: bool


class Transfer(msgspec.Struct, frozen=True):
    """What one step moves on the three accounts of a channel: down or up, all or nothing.

    The amounts are signed effects on the balances: a sale is (-sell, +commission, -service).
    """

    side: str
    channel_no: str
    trade_no: str
    ext_no: str
    channel_micros: int
    commission_micros: int
    service_micros: int
    refund: bool = False
    void: bool = False
    loss_micros: int = 0  # what it costs more than it sold for

    @property
    def empty(self) -> bool:
        """Whether there is nothing to post."""
        return not (self.channel_micros or self.commission_micros or self.service_micros)


class PayClient:
    """The ledger of the pay service."""

    def __init__(self, channel: aio.Channel, *, ident: str, call_s: float) -> None:
        self._stub = rpc.LedgerServiceStub(channel)
        self._ident, self._call_s = ident, call_s

    async def post(self, transfers: Sequence[Transfer]) -> list[Posted | Refused]:
        """In calls of at most 1000 postings. Raises grpc.RpcError when pay did not answer."""
        answers: list[Posted | Refused] = []
        step = POSTINGS_MAX // len(_KINDS)
        for start in range(0, len(transfers), step):
            part = transfers[start : start + step]
            full = [one for one in part if not one.empty]
            request = pb.PostEntriesRequest(groups=[self._group(one) for one in full])
            results = (
                iter((await self._stub.PostEntries(request, **call_options(self._call_s))).results)
                if full
                else iter(())
            )
            answers += [
                Posted(False, True) if one.empty else _answer(next(results)) for one in part
            ]
        return answers

    def _group(self, one: Transfer) -> pb.PostEntriesRequest.Group:
        amounts = (one.channel_micros, one.commission_micros, one.service_micros)
        change = REFUND if one.refund else DEDUCT
        about = _ABOUT[one.side, one.refund]
        group = pb.PostEntriesRequest.Group(
            postings=[
                pb.Posting(
                    account=pb.AccountKey(
                        ident=self._ident, groups=f"{one.side}_{name}", eid=one.channel_no
                    ),
                    trade_no=one.trade_no,
                    ext_no=one.ext_no,
                    change_type=change,
                    trade_type=trade,
                    amount_micros=0 if one.void else amount,
                    void=one.void,
                    about=about,
                )
                for (name, trade), amount in zip(_KINDS, amounts, strict=True)
                if amount
            ]
        )
        if one.loss_micros:
            group.postings[0].memo = f"{LOSS_MEMO} {micros_to_yuan(one.loss_micros)} 元"
        return group

    async def balance(self, channel_no: str) -> int:
        """What is on the account that a channel pays from; raises grpc.RpcError, refusals among them."""
        return (await self.account(channel_no, "down_channel")).balance_micros

    async def account(self, channel_no: str, groups: str) -> pb.Account:
        """An account of a channel as it stands; raises grpc.RpcError, refusals among them."""
        key = pb.AccountKey(ident=self._ident, groups=groups, eid=channel_no)
        request = pb.GetAccountRequest(key=key)
        answer = await self._stub.GetAccount(request, **call_options(self._call_s))
        return answer.account

    async def spending(self, channel_no: str) -> tuple[int, int]:
        """What left the account a channel pays from, and within how many seconds; raises as `account`."""
        key = pb.AccountKey(ident=self._ident, groups="down_channel", eid=channel_no)
        request = pb.GetSpendingRequest(key=key)
        answer = await self._stub.GetSpending(request, **call_options(self._call_s))
        return answer.spent_micros, answer.window_s

    async def create_accounts(self, side: str, channels: Sequence[tuple[str, str]]) -> None:
        """Named as 000 §二.3 names them; accounts that exist stay as they are."""
        items = [
            pb.CreateAccountsRequest.Item(
                key=pb.AccountKey(ident=self._ident, groups=f"{side}_{group}", eid=channel_no),
                name=f"{name}{words}",
            )
            for channel_no, name in channels
            for group, words in (
                ("channel", "渠道账户"),
                ("commission", "佣金账户"),
                ("service", "服务费账户"),
            )
        ]
        for start in range(0, len(items), POSTINGS_MAX):
            request = pb.CreateAccountsRequest(items=items[start : start + POSTINGS_MAX])
            answer = await self._stub.CreateAccounts(request, **call_options(self._call_s))
            for result in answer.results:
                if result.HasField("refusal"):
                    raise refused_from_proto(result.refusal)


def _answer(result: pb.PostEntriesResponse.Result) -> Posted | Refused:
    if result.HasField("refusal"):
        return refused_from_proto(result.refusal)
    return Posted(any(r.amount_micros for r in result.records), result.existed)
