"""PayServer (002), composed."""

from __future__ import annotations

import secrets
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Final

from shoudan_kit import metrics
from shoudan_kit.credentials.live import LiveSecrets
from shoudan_kit.events.kept import Kept
from shoudan_kit.events.share_exchange import LEASE_S, ShareExchange, Sharing
from shoudan_kit.limits.shares import Shares
from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.history import History, Subscriber
from shoudan_pay.payserver.pays import Pays
from shoudan_pay.payserver.polling import Polling
from shoudan_pay.payserver.refunds import Refunds
from shoudan_pay.payserver.settlement import Settlement

BUCKET: Final = "pay_shares"


class PayServer:
    """Everything of PayServer in one process; made once, closed once."""

    def __init__(
        self, app: App[PaySettings], stored: LiveSecrets, subscribers: Sequence[Subscriber] = ()
    ) -> None:
        """`stored` are the components' credentials."""
        self.app = app
        self.shares = Shares(secrets.token_hex(8), LEASE_S)
        self.components = Components(app.settings, stored, self.shares)
        self.settlement = Settlement(app, History(subscribers))
        self.pays = Pays(app, self.components, self.settlement)
        self.refunds = Refunds(app, self.components, self.settlement)
        self.polling = Polling(app, self.components, self.settlement, self.pays, self.refunds)
        self.shared = [*self.polling.asks.values()]  # whose bounds are totals, too
        show, received = metrics.REPLICAS_SHARING().set, self.components.received
        sharing = Sharing(self._asked, show, self._used, received=received)
        self.exchange = ShareExchange(Kept(app.bus, BUCKET), self.shares, sharing, app.clock)

    def _asked(self, seconds: float) -> Mapping[str, float]:
        return ChainMap(self.components.asked(seconds), *(one.asked() for one in self.shared))

    def _used(self) -> Mapping[str, float]:
        return ChainMap(self.components.used(), *(one.used() for one in self.shared))

    async def aclose(self) -> None:
        """Finish what was taken, then close."""
        await self.pays.aclose()
        await self.refunds.aclose()
        await self.settlement.aclose()
        await self.components.aclose()
