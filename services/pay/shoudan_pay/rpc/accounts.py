"""Calls about accounts: make, find, list, change, watch."""

from __future__ import annotations

from collections.abc import Collection

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.refusal import Refusal
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger import accounts
from shoudan_pay.ledger.entries import Key
from shoudan_pay.ledger.store import accounts as store
from shoudan_pay.ledger.store.accounts import NewAccount
from shoudan_pay.refusals import FieldInvalid
from shoudan_pay.rpc import ledger_messages
from shoudan_pay.rpc.ledger_messages import EID_MAX, IDENT_MAX, NAME_MAX, text, whole

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
