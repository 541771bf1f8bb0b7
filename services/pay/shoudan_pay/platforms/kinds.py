"""The background work of ChinaUMS and Dingdang: asking about refunds and trades, telling partners."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.task import Kind

DAY_S: Final = 86_400
# protocols §1.8: asked for a day; the waits in between are settings.
UMS_SLOW_S: Final = 300


class AskUms(msgspec.Struct, frozen=True):
    """Ask ChinaUMS about this refund."""

    traction_no: str


class Tell(msgspec.Struct, frozen=True):
    """Tell a Dingdang partner."""

    notice_id: int


class Release(msgspec.Struct, frozen=True):
    """Let the delivery of this order go on, since its trade is paid, or stop it, since it is refunded."""

    channel_no: str
    request_no: str
    trade_no: str
    refunded: bool = False


RELEASE: Final = Kind(
    "dingdang.release",
    Release,
    "platforms:release",
    interval_s=15,
    deadline_s=3 * DAY_S,
    count_max=20_000,
    exclusive=True,
    each=True,
    parallel=8,
)
ASK_UMS: Final = Kind(
    "chinaums.ask",
    AskUms,
    "platforms:ask",
    interval_s=UMS_SLOW_S,
    deadline_s=DAY_S,
    count_max=1_000,
    exclusive=True,
    each=True,
    parallel=16,
)
# A notify asks at once; the slow question stays where it is.
ASK_UMS_NOW: Final = Kind(
    "chinaums.ask_now",
    AskUms,
    "platforms:ask",
    interval_s=UMS_SLOW_S,
    deadline_s=DAY_S,
    count_max=3,
    exclusive=True,
    each=True,
    parallel=16,
)
TELL: Final = Kind(
    "dingdang.tell",
    Tell,
    "platforms:tell",
    interval_s=60,
    deadline_s=30 * DAY_S,
    count_max=100_000,  # a resting host puts its notices back; attempts have a bound of their own
    exclusive=True,
    each=True,
    parallel=32,
)
