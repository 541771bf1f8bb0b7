"""Calls about accounts: make, find, list, change, watch."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.messages import RpcContext, filled
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts
from shoudan_pay.ledger.entries import Key
from shoudan_pay.ledger.store import accounts as store
from shoudan_pay.ledger.store.accounts import NewAccount, Watched
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages
from shoudan_pay.rpc.ledger_messages import EID_MAX, IDENT_MAX, NAME_MAX, page_size, text, whole

TOKEN: Final = re.compile(r"([0-9]{1,18})\.(-?[0-9]{1,18})", re.ASCII)

ITEMS_MAX = 1000

_Result = pb.CreateAccountsResponse.Result


class AccountCalls:
    """The part of LedgerService that is about accounts."""

    _app: App[PaySettings]
    _accounts: accounts.Accounts

    async def CreateAccounts(
        self, request: pb.CreateAccountsRequest, context: RpcContext
    ) -> pb.CreateAccountsResponse:
        """Items are independent: a malformed one leaves the others standing."""
        if len(request.items) > ITEMS_MAX:
            raise FieldInvalid("items", f"has more than {ITEMS_MAX}")
        read = [self._read(item) for item in request.items]
        wanted = [one for one in read if isinstance(one, NewAccount)]
        made = await self._accounts.create(wanted)
        answers = iter(made)
        results: list[_Result] = []
        for one in read:
            if isinstance(one, Refusal):
                results.append(_Result(refusal=one.to_proto()))
            else:
                answer = next(answers)
                account = ledger_messages.account(answer.account)
                results.append(_Result(account=account, existed=answer.existed))
        return pb.CreateAccountsResponse(results=results)

    def _read(self, item: pb.CreateAccountsRequest.Item) -> NewAccount | Refusal:
        try:
            return read_new(item, self._app.settings.limit_exempt_groups)
        except Refusal as refusal:
            return refusal

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: RpcContext
    ) -> pb.GetAccountResponse:
        """One account, platform accounts with their derived balance."""
        account = await self._accounts.get(ledger_messages.key(request.key))
        return pb.GetAccountResponse(account=ledger_messages.account(account))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: RpcContext
    ) -> pb.ListAccountsResponse:
        """A page by account_id."""
        status = request.status if request.HasField("status") else None
        if status not in {None, 0, 1}:
            raise FieldInvalid("status", "is neither 0 nor 1")
        wanted = store.Filter(
            text("ident", request.ident, IDENT_MAX, optional=True),
            text("groups_prefix", request.groups_prefix, IDENT_MAX, optional=True),
            text("eid", request.eid, EID_MAX, optional=True),
            text("name_contains", request.name_contains, NAME_MAX, optional=True),
            status,
        )
        asked = ledger_messages.page(request, 0)
        page = await self._accounts.page(wanted, asked)
        whole(asked.numbered and page.cut)
        return pb.ListAccountsResponse(
            accounts=[ledger_messages.account(one) for one in page.shown],
            next_page_token=page.token,
            count=page.count,
        )

    async def UpdateAccount(
        self, request: pb.UpdateAccountRequest, context: RpcContext
    ) -> pb.UpdateAccountResponse:
        """Whichever of name, credit and lock is set."""
        key, wanted = read_change(request)
        account = await self._accounts.change(key, wanted)
        return pb.UpdateAccountResponse(account=ledger_messages.account(account))

    async def SetAlert(
        self, request: pb.SetAlertRequest, context: RpcContext
    ) -> pb.SetAlertResponse:
        """Add a threshold, or remove one."""
        key = ledger_messages.key(request.key)
        if request.remove:
            there = await self._accounts.unwatch(key, request.threshold_micros)
        else:
            there = await self._accounts.watch(
                key, request.threshold_micros, request.hysteresis_micros
            )
        return pb.SetAlertResponse(threshold_micros=[one.threshold_micros for one in there])

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: RpcContext
    ) -> pb.ListAlertsResponse:
        """A page by account and threshold."""
        after, most = _after(request.page_token), page_size(request.page_size)
        found = await self._accounts.watched(after, most + 1)
        last = found[most - 1] if len(found) > most else None
        token = "" if last is None else f"{last.account_id}.{last.threshold_micros}"
        return pb.ListAlertsResponse(alerts=map(_alert, found[:most]), next_page_token=token)

    async def GetSpending(
        self, request: pb.GetSpendingRequest, context: RpcContext
    ) -> pb.GetSpendingResponse:
        """What left an account within the last day."""
        account, spent = await self._accounts.spending(ledger_messages.key(request.key))
        return pb.GetSpendingResponse(
            spent_micros=spent.micros,
            window_s=spent.window_s,
            balance_micros=account.balance_micros,
            credit_micros=account.credit_micros,
        )


def _after(token: str) -> tuple[int, int]:
    """Behind which threshold a page begins. Raises FieldInvalid."""
    found = TOKEN.fullmatch(token)
    if token and found is None:
        raise FieldInvalid("page_token", "not given by the page before")
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _alert(one: Watched) -> pb.Alert:
    key = pb.AccountKey(ident=one.ident, groups=one.groups, eid=one.eid)
    return filled(pb.Alert, one, key=key, seq=one.crossed_seq)


def read_new(item: pb.CreateAccountsRequest.Item, exempt: Collection[str]) -> NewAccount:
    """A requested account; those of the `exempt` groups have no limit. Raises FieldInvalid, AmountInvalid."""
    ident, groups, eid = ledger_messages.key(item.key)
    name = text("name", item.name or eid, NAME_MAX)
    account = NewAccount(ident, groups, eid, name, item.credit_micros, groups not in exempt)
    accounts.check_new(account)
    return account


def read_change(request: pb.UpdateAccountRequest) -> tuple[Key, accounts.Change]:
    """Which account to change, and how. Raises FieldInvalid."""
    name = text("name", request.name, NAME_MAX) if request.HasField("name") else None
    wanted = accounts.Change(
        name,
        request.credit_micros if request.HasField("credit_micros") else None,
        request.locked if request.HasField("locked") else None,
    )
    return ledger_messages.key(request.key), wanted
