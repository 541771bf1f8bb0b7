"""The ledger's servicer: messages to values and back, no rules."""

from __future__ import annotations

from shoudan.pay.v1 import ledger_service_pb2_grpc as grpc_stubs
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.ledger.accounts import Accounts
from shoudan_pay.ledger.group_commit import Ledger
from shoudan_pay.ledger.package_moves import Packages
from shoudan_pay.rpc.accounts import AccountCalls
from shoudan_pay.rpc.ledger_days import DayCalls
from shoudan_pay.rpc.packages import PackageCalls
from shoudan_pay.rpc.postings import PostingCalls
from shoudan_pay.rpc.statements import Sealer, StatementCalls


class LedgerServicer(
    AccountCalls,
    PostingCalls,
    PackageCalls,
    StatementCalls,
    DayCalls,
    grpc_stubs.LedgerServiceServicer,
):
    """shoudan.pay.v1.LedgerService."""

    def __init__(self, app: App[PaySettings], ledger: Ledger) -> None:
        self._app, self._ledger = app, ledger
        self._accounts, self._packages = Accounts(app), Packages(app)
        self._sealer = Sealer(app)

    async def aclose(self) -> None:
        """Give up a statement that is being made."""
        await self._sealer.aclose()
