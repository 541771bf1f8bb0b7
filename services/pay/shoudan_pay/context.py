"""What this service's tasks and calls work with: one of each per shard, composed once and closed once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from shoudan_kit.credentials.book import Credentials
from shoudan_kit.limits.bulkhead import Resting
from shoudan_kit.service import App
from shoudan_pay.chinaums.notifies import UmsNotifies
from shoudan_pay.chinaums.refunds import UmsRefunds
from shoudan_pay.config import PaySettings
from shoudan_pay.credential_kinds import KINDS
from shoudan_pay.dingdang import notice_subscriptions
from shoudan_pay.dingdang.link import DingdangLink
from shoudan_pay.dingdang.merchant_pays import MerchantPays
from shoudan_pay.dingdang.notices import Notices
from shoudan_pay.dingdang.order_holds import OrderHolds
from shoudan_pay.dingdang.trades import Trades
from shoudan_pay.ledger.group_commit import Ledger
from shoudan_pay.payserver.server import PayServer
from shoudan_pay.platforms.signatures import Signatures


@dataclass(frozen=True, slots=True)
class Context:
    """The four products of this service, and what ChinaUMS and Dingdang share."""

    app: App[PaySettings]
    credentials: Credentials
    ledger: Ledger
    payserver: PayServer
    signatures: Signatures
    ums_refunds: UmsRefunds
    ums_notifies: UmsNotifies
    trades: Trades
    merchant_pays: MerchantPays
    link: DingdangLink
    notices: Notices
    order_holds: OrderHolds

    @property
    def closers(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Finish what was taken, then close all connections."""
        return (
            self.payserver.aclose,
            self.ums_refunds.aclose,
            self.notices.aclose,
            self.link.aclose,
            self.ledger.aclose,
        )

    def resting(self) -> Sequence[Resting]:
        """Hosts outside that do not answer."""
        return [*self.payserver.components.resting(), *self.notices.resting()]


def compose(app: App[PaySettings]) -> Context:
    """Tie the products together: Dingdang subscribes to PayServer's changes, both platforms pay for it."""
    ring = app.settings.own_key_ring()
    credentials = app.once(
        Credentials, lambda: Credentials(app, KINDS, ring, "shoudan.events.pay.")
    )
    payserver = PayServer(app, credentials.live, [notice_subscriptions.subscriber])
    settlement = payserver.settlement
    signatures, trades = Signatures(app, credentials.live), Trades(app, settlement)
    notices = Notices(app, signatures, payserver.shares)
    payserver.shared.append(notices.calls)
    context = Context(
        app,
        credentials,
        Ledger(app),
        payserver,
        signatures,
        UmsRefunds(app, signatures, settlement),
        UmsNotifies(app, signatures, settlement),
        trades,
        MerchantPays(app, payserver.refunds),
        DingdangLink(app, signatures, trades),
        notices,
        OrderHolds(app),
    )
    payserver.components.links |= {"chinaums": context.ums_refunds, "dingdang": context.link}
    return context
