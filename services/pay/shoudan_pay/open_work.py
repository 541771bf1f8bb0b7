"""Every kind of what waits for a person at pay."""

from __future__ import annotations

from collections.abc import Sequence

from shoudan_kit.proposals.work import Decidable
from shoudan_kit.service import App
from shoudan_pay.chinaums.open_work import OpenUmsRefunds
from shoudan_pay.config import PaySettings
from shoudan_pay.dingdang.open_work import GivenUpNotices, ParkedTrades
from shoudan_pay.payserver.history import History
from shoudan_pay.payserver.open_work import ParkedPays, ParkedRefunds

KINDS = (ParkedPays, ParkedRefunds, OpenUmsRefunds, GivenUpNotices, ParkedTrades)


def sources(app: App[PaySettings], history: History) -> Sequence[Decidable]:
    """Every kind of this service."""
    return [kind(app, history) for kind in KINDS]
