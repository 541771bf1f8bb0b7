"""PayServer (002), composed."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_kit.service import App
from shoudan_pay.config import PaySettings
from shoudan_pay.payserver.components import Components
from shoudan_pay.payserver.history import History, Subscriber
from shoudan_pay.payserver.pays import Paying
from shoudan_pay.payserver.polling import Asking
from shoudan_pay.payserver.refunds import Refunding
from shoudan_pay.payserver.settlement import Settling


class PayServer:
    """Everything of PayServer in one process; made once, closed once."""

    def __init__(self, app: App[PaySettings], subscribers: Sequence[Subscriber] = ()) -> None:
        self.app = app
        self.components = Components(app.settings)
        self.settling = Settling(app, History(subscribers))
        self.paying = Paying(app, self.components, self.settling)
        self.refunding = Refunding(app, self.components, self.settling)
        self.asking = Asking(app, self.components, self.settling, self.paying, self.refunding)

    async def aclose(self) -> None:
        """Finish what was taken, then close."""
        await self.paying.aclose()
        await self.refunding.aclose()
        await self.settling.aclose()
        await self.components.aclose()
