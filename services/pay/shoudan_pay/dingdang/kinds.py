"""The background work of Dingdang: notices to partners, releasing and pausing orders."""

from __future__ import annotations

from typing import Final

import msgspec

from shoudan_kit.tasks.kinds import Kind

DAY_S: Final = 86_400


class NoticeStep(msgspec.Struct, frozen=True):
    """Send a notice to a Dingdang partner."""

    notice_id: int


class Release(msgspec.Struct, frozen=True):
    """Release the delivery of this order, whose trade is paid, or pause it, whose trade is refunded."""

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
SEND_NOTICE: Final = Kind(
    "dingdang.tell",
    NoticeStep,
    "platforms:tell",
    interval_s=60,
    deadline_s=30 * DAY_S,
    count_max=100_000,  # a resting host puts its notices back; attempts have a bound of their own
    exclusive=True,
    each=True,
    parallel=32,
)
